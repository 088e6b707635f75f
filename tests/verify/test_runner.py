"""The runner against verifiers that misbehave in every way we could think of. Each costs its own sample at most."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.schema import VerifierUse
from prerlkit.types import Verdict
from prerlkit.verify import Sample
from prerlkit.verify.checks import Check, CheckQueue, Task
from prerlkit.verify.combine import Combination
from prerlkit.verify.runner import Runner

# One verifier whose completion says what to do, so that one set of workers serves most tests.
HOSTILE = """
import ctypes, json, os, signal, subprocess, sys, threading, time
from prerlkit.verify import Sample, Settings, Verdict, Verifier

class HostileSettings(Settings):
    where: str = ""

class Hostile(Verifier):
    name = "hostile"
    Settings = HostileSettings
    needs_answer = False

    def judge(self, sample):
        match sample.completion.split(":")[0]:
            case "pass": return Verdict.of(True, "fine", pid=os.getpid())
            case "fail": return Verdict.of(False)
            case "raise": raise ValueError("no luck")
            case "exit": sys.exit(0)
            case "interrupt": raise KeyboardInterrupt
            case "os_exit": os._exit(3)
            case "segfault": os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                while True: time.sleep(1)
            case "hang_in_c": return 9 ** 9 ** 9 ** 2
            case "nan": return Verdict(float("nan"), True)
            case "two": return Verdict(2.0, True)
            case "bool": return True
            case "none": return None
            case "half": return Verdict(1.0, None)
            case "text_score": return Verdict("1", True)
            case "bad_details": return Verdict.of(True, "", **{"a": {(1, 2): 3}})
            case "unjudged": return Verdict.unjudged("who knows")
            case "print":
                print("x" * 100_000, flush=True)
                os.write(1, b"\\x00\\x00\\x00\\x05abcde")
                return Verdict.of(True)
            case "stdin": return Verdict.of(sys.stdin.read() == "")
            case "daemon":
                # Away from the session, the group and the parent: a double fork with setsid.
                start_daemon(self.settings.where)
                return Verdict.of(True)
            case "daemon_hang":
                start_daemon(self.settings.where)
                time.sleep(100)
            case "daemon_crash":
                start_daemon(self.settings.where)
                os._exit(1)
            case "memory":
                eaten = bytearray(8 * 2**30)
                return Verdict.of(True)
            case "environment": return Verdict.of(True, json.dumps(dict(os.environ)))
            case "modules": return Verdict.of(True, ",".join(m for m in ("torch", "transformers") if m in sys.modules))
            case "echo":
                return Verdict.of(True, "", completion=sample.completion, row=dict(sample.row), answer=sample.answer)
            case "load":
                with self.off_the_clock(): time.sleep(1.2)
                return Verdict.of(True)
            case "load_hang":
                with self.off_the_clock(): pass
                time.sleep(100)

def start_daemon(where):
    before = len(os.listdir(where))
    subprocess.run([sys.executable, "-c", DAEMON, where], start_new_session=True)
    while len(os.listdir(where)) == before: time.sleep(0.01)

DAEMON = '''
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open(sys.argv[1] + "/" + str(os.getpid()), "w").close()
time.sleep(1000)
'''
"""


@dataclass(frozen=True)
class U:
    """What the runner asks of a use, without the recipe."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    timeout: float = 5.0


def write(folder: Path, name: str, text: str) -> None:
    (folder / "verifiers").mkdir(exist_ok=True)
    (folder / "verifiers" / f"{name}.py").write_text(textwrap.dedent(text))


def simple(name: str, body: str, extra: str = "") -> str:
    """A plugin whose `judge` is `body`."""
    return (
        "import os, time\nfrom prerlkit.verify import Sample, Verdict, Verifier\n\n"
        f"class Plugin(Verifier):\n    name = {name!r}\n    needs_answer = False\n{extra}\n"
        f"    def judge(self, sample):\n        {body}\n"
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (result := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return result


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A runner with the hostile verifier and a limit of a second, and the folder where its daemons leave their pids."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "daemons").mkdir()
    write(folder, "hostile", HOSTILE)
    use = VerifierUse(name="hostile", timeout=0.8, settings={"where": str(folder / "daemons")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_secret")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        with Runner([use], folder=folder, workers=2, memory_bytes=4 * 2**30) as runner:
            yield runner, folder / "daemons"


def judge(hostile: Any, *completions: str) -> list[Verdict]:
    return hostile[0].judge([Sample("", completion) for completion in completions])


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("raise", "raised ValueError: no luck (line"),
        ("exit", "raised SystemExit"),
        ("interrupt", "raised KeyboardInterrupt"),
        ("nan", "score nan"),
        ("two", "score 2.0"),
        ("text_score", "score '1'"),
        ("bool", "returned bool, not a Verdict"),
        ("none", "returned NoneType"),
        ("half", "half a verdict"),
        ("bad_details", "raised TypeError"),
        ("memory", "raised MemoryError"),
    ],
)
def test_a_fault_is_unjudged_and_names_the_file(hostile: Any, completion: str, reason: str) -> None:
    before = hostile[0].stats()["hostile"]
    (verdict,) = judge(hostile, completion)
    assert (verdict.score, verdict.passed) == (None, None)
    assert reason in verdict.reason
    assert "verifiers/hostile.py" in verdict.reason
    after = hostile[0].stats()["hostile"]
    assert (after.errors, after.unjudged, after.judged) == (before.errors + 1, before.unjudged + 1, before.judged)


@pytest.mark.parametrize(
    ("completion", "reason", "counter"),
    [
        ("os_exit", "ended with exit code 3", "crashes"),
        ("segfault", "signal 11", "crashes"),
        ("hang", "ran longer than 0.8 s", "timeouts"),
        ("hang_in_c", "ran longer than 0.8 s", "timeouts"),
        ("load_hang", "ran longer than 0.8 s", "timeouts"),
    ],
)
def test_a_dead_worker_costs_only_the_sample_at_fault(hostile: Any, completion: str, reason: str, counter: str) -> None:
    before = hostile[0].stats()["hostile"]
    verdicts = judge(hostile, *["pass", "fail"] * 10, completion, *["fail", "pass"] * 10)
    assert [v.passed for v in verdicts] == [*[True, False] * 10, None, *[False, True] * 10]
    assert reason in verdicts[20].reason
    after = hostile[0].stats()["hostile"]
    assert getattr(after, counter) == getattr(before, counter) + 1
    assert (after.judged, after.unjudged) == (before.judged + 40, before.unjudged + 1)


def test_saying_unjudged_is_no_error(hostile: Any) -> None:
    before = hostile[0].stats()["hostile"]
    (verdict,) = judge(hostile, "unjudged")
    after = hostile[0].stats()["hostile"]
    assert verdict == Verdict.unjudged("who knows")
    assert (after.errors, after.unjudged) == (before.errors, before.unjudged + 1)


def test_printing_and_reading_stdin_leave_the_protocol_alone(hostile: Any) -> None:
    assert [v.passed for v in judge(hostile, "print", "pass", "print", "fail", "stdin")] == [
        True,
        True,
        True,
        False,
        True,
    ]


def test_one_time_loading_is_not_the_samples_time(hostile: Any) -> None:
    assert [v.passed for v in judge(hostile, "load")] == [True]


@pytest.mark.parametrize("completion", ["daemon_hang", "daemon_crash"])
def test_a_kill_reaches_daemons(hostile: Any, completion: str) -> None:
    folder = hostile[1]
    old = set(folder.iterdir())
    assert judge(hostile, completion)[0].passed is None
    (started,) = set(folder.iterdir()) - old
    assert eventually(lambda: not alive(int(started.name)))


def test_closing_ends_daemons_and_workers(tmp_path: Path) -> None:
    write(tmp_path, "hostile", HOSTILE)
    with Runner([U("hostile", {"where": str(tmp_path)})], folder=tmp_path, workers=1) as runner:
        daemon, plain = runner.judge([Sample("", "daemon"), Sample("", "pass")])
        assert daemon.passed
        assert eventually(lambda: any(path.name.isdigit() for path in tmp_path.iterdir()))
        (pid,) = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
        assert alive(pid)
        assert alive(plain.details["pid"])
    assert eventually(lambda: not alive(pid))
    assert not alive(plain.details["pid"])


def test_a_subprocess_verifier_leaves_nothing_running_after_its_batch(tmp_path: Path) -> None:
    write(
        tmp_path, "hostile", HOSTILE.replace("needs_answer = False", 'needs_answer = False; resources = "subprocess"')
    )
    with Runner([U("hostile", {"where": str(tmp_path)})], folder=tmp_path, workers=1) as runner:
        assert runner.judge([Sample("", "daemon")])[0].passed
        assert eventually(lambda: any(path.name.isdigit() for path in tmp_path.iterdir()))
        runner.judge([Sample("", "pass")])
        (pid,) = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
        assert eventually(lambda: not alive(pid))


def test_secrets_stay_out_of_the_workers_environment(hostile: Any) -> None:
    (verdict,) = judge(hostile, "environment")
    assert "secret" not in verdict.reason
    assert "HF_TOKEN" not in verdict.reason
    assert '"PATH"' in verdict.reason


def test_workers_are_light(hostile: Any) -> None:
    assert judge(hostile, "modules")[0].reason == ""


@pytest.mark.parametrize("text", ["\ud800 lone", "null \x00 byte", "é 数 🎉", "x" * 2**20, "\n\r\t\\\"'", "\u2028"])
def test_any_text_passes_through_unharmed(hostile: Any, text: str) -> None:
    sample = Sample("p", "echo:" + text, answer=text, row={"a": [1, None, {"b": text}]})
    (verdict,) = hostile[0].judge([sample])
    assert verdict.details == {"completion": "echo:" + text, "answer": text, "row": {"a": [1, None, {"b": text}]}}


def test_a_row_that_json_cannot_hold_is_unjudged(hostile: Any) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    verdicts = hostile[0].judge([Sample("", "pass", row=circle), Sample("", "pass", row={"day": object})])
    assert [v.passed for v in verdicts] == [None, True]
    assert "row" in verdicts[0].reason


def test_order_is_kept(hostile: Any) -> None:
    samples = [Sample("", f"echo:{i}") for i in range(300)]
    assert [v.details["completion"] for v in hostile[0].judge(samples)] == [f"echo:{i}" for i in range(300)]


def test_both_workers_work(tmp_path: Path) -> None:
    write(tmp_path, "slow", simple("slow", "time.sleep(0.02); return Verdict.of(True, str(os.getpid()))"))
    with Runner([U("slow")], folder=tmp_path, workers=2) as runner:
        assert len({v.reason for v in runner.judge([Sample("", "")] * 40)}) == 2


def test_submit_waits_when_too_much_is_pending(tmp_path: Path) -> None:
    write(tmp_path, "slow", simple("slow", "time.sleep(0.3); return Verdict.of(True)"))
    with Runner([U("slow")], folder=tmp_path, workers=1, max_pending=2) as runner:
        started = time.monotonic()
        futures = [runner.submit(Sample("", "")) for _ in range(2)]
        quick = time.monotonic() - started
        futures.append(runner.submit(Sample("", "")))
        assert quick < 0.25
        assert time.monotonic() - started > 0.25
        assert all(future.result().passed for future in futures)


def test_several_verifiers_become_one_verdict(tmp_path: Path) -> None:
    write(tmp_path, "half", simple("half", "return Verdict(0.5, False, 'meh', {'parts': 2})"))
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    write(
        tmp_path,
        "shy",
        simple("shy", "return Verdict.unjudged('no idea') if 'x' in sample.completion else Verdict.of(True)"),
    )
    uses = [U("half", weight=3.0), U("right"), U("shy", weight=4.0), U("right", weight=2.0)]
    with Runner(uses, folder=tmp_path, workers=1) as runner:
        plain, shy = runner.judge([Sample("", "a"), Sample("", "x")])
        stats = runner.stats()
    assert plain.score == pytest.approx((3 * 0.5 + 1 + 4 + 2) / 10)
    assert plain.passed is False
    assert plain.reason == "half: meh"
    assert plain.details["half"] == {"score": 0.5, "passed": False, "reason": "meh", "parts": 2}
    assert list(plain.details) == ["half", "right", "shy", "right#2"]
    assert (shy.score, shy.passed, shy.reason) == (None, None, "shy: no idea")
    assert {label: (s.judged, s.unjudged) for label, s in stats.items()} == {
        "half": (2, 0),
        "right": (2, 0),
        "shy": (1, 1),
        "right#2": (2, 0),
    }


def test_no_gold_answer_is_unjudged_without_asking(tmp_path: Path) -> None:
    write(tmp_path, "strict", simple("strict", "return Verdict.of(True)").replace("needs_answer = False", ""))
    with Runner([U("strict")], folder=tmp_path, workers=1) as runner:
        assert runner.judge([Sample("", "a"), Sample("", "a", answer="")]) == [
            Verdict.unjudged("no gold answer"),
            Verdict.of(True),
        ]


def test_batches_fall_back_to_single_samples(tmp_path: Path) -> None:
    batch = """
    def judge_batch(self, samples):
        mode = samples[0].prompt
        if len(samples) > 1 or mode == "fine":
            if mode == "die": os._exit(1)
            if mode == "hang": time.sleep(100)
            if mode == "short": return []
            if mode == "raise": raise ValueError("batch")
        return [Verdict.of(True, f"batch of {len(samples)}") for _ in samples]
"""
    write(tmp_path, "together", simple("together", "return Verdict.of(True, 'single')", batch))
    with Runner([U("together", timeout=0.05)], folder=tmp_path, workers=1) as runner:
        runner.judge([Sample("", "")])
        seen = {mode: runner.judge([Sample(mode, "")] * 3) for mode in ("fine", "die", "hang", "short", "raise")}
    assert all(verdict.passed for verdicts in seen.values() for verdict in verdicts)
    assert {mode: verdicts[-1].reason for mode, verdicts in seen.items()}["short"] == "single"
    assert "batch of" in seen["fine"][-1].reason


def test_a_plugin_that_cannot_be_imported_stops_the_start(tmp_path: Path) -> None:
    write(tmp_path, "broken", "import nothing_of_that_name\n")
    with (
        pytest.raises(PrerlkitError, match="No module named 'nothing_of_that_name'"),
        Runner([U("broken")], folder=tmp_path),
    ):
        pass


def test_a_plugin_that_dies_while_imported_stops_the_start(tmp_path: Path) -> None:
    write(tmp_path, "deadly", "import os\nos._exit(7)\n")
    with pytest.raises(PrerlkitError, match="exit code 7 while it started"), Runner([U("deadly")], folder=tmp_path):
        pass


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match='no setting toleranse; did you mean "tolerance"'),
        Runner([U("math", {"toleranse": 1})], workers=1),
    ):
        pass


def test_an_error_in_the_block_does_not_wait_for_hanging_verifiers(tmp_path: Path) -> None:
    write(tmp_path, "slow", simple("slow", "time.sleep(60); return Verdict.of(True)"))
    started = time.monotonic()
    futures: list[Future[Verdict]] = []
    with contextlib.suppress(KeyboardInterrupt), Runner([U("slow", timeout=60)], folder=tmp_path, workers=1) as runner:
        futures = [runner.submit(Sample("", "")) for _ in range(20)]
        time.sleep(0.3)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
    assert all(future.result(timeout=0).passed is None for future in futures)


def test_workers_outlive_ctrl_c_and_die_with_a_killed_parent(tmp_path: Path) -> None:
    write(tmp_path, "slow", simple("slow", "open(sample.prompt, 'w').write(str(os.getpid())); time.sleep(100)"))
    script = f"""
import sys, signal, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from types import SimpleNamespace
from prerlkit.verify import Sample
from prerlkit.verify.runner import Runner
signal.signal(signal.SIGINT, signal.SIG_IGN)
folder = Path({str(tmp_path)!r})
use = SimpleNamespace(name="slow", settings={{}}, weight=1.0, timeout=100.0)
with Runner([use], folder=folder, workers=1) as runner:
    runner.submit(Sample(str(folder / "pid"), ""))
    time.sleep(100)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        pid_file = tmp_path / "pid"
        assert eventually(lambda: pid_file.exists() and pid_file.read_text() != "", 20)
        pid = int(pid_file.read_text())
        os.killpg(parent.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
        time.sleep(0.2)
        assert alive(pid)
        parent.kill()
        assert eventually(lambda: not alive(pid))
    finally:
        parent.kill()
        parent.wait()


def test_submitting_to_a_closed_runner_says_so(tmp_path: Path) -> None:
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    runner = Runner([U("right")], folder=tmp_path, workers=1)
    with pytest.raises(PrerlkitError, match="isn't open"):
        runner.submit(Sample("", ""))
    with runner:
        assert runner.submit(Sample("", "")).result().passed
    with pytest.raises(PrerlkitError, match="isn't open"):
        runner.submit(Sample("", ""))


def test_a_pure_verdict_costs_less_than_a_millisecond(tmp_path: Path) -> None:
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    samples = [Sample("p" * 500, "c" * 2000, "42", {"question": "q" * 300})] * 500
    with Runner([U("right")], folder=tmp_path, workers=2) as runner:
        runner.judge(samples)
        started = time.process_time()
        runner.judge(samples)
        # This side's work; a shared machine's wall clock would make the test a matter of luck.
        assert (time.process_time() - started) / len(samples) < 0.001


def test_a_large_or_lone_check_is_a_batch_of_its_own() -> None:
    queue = CheckQueue(1, workers=1)
    task = Task(Combination((), (), ()))
    sizes = {"a": 10, "b": 10, "large": 2**20, "c": 10, "alone": 10, "d": 10}
    queue.put([Check(task, 0, b"x" * size, alone=name == "alone") for name, size in sizes.items()])
    batches = []
    for _ in range(5):
        batch = queue.take()
        assert batch is not None
        batches.append([len(check.frame) for check in batch])
    assert batches == [[10, 10], [2**20], [10], [10], [10]]


def test_the_pool_keeps_no_threads(tmp_path: Path) -> None:
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    before = threading.active_count()
    with Runner([U("right")], folder=tmp_path, workers=2):
        assert threading.active_count() == before + 2
    assert threading.active_count() == before
