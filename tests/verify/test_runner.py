"""The runner against verifiers that misbehave in every way we could think of. Each costs its own sample at most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prerlkit.errors import PrerlkitError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner

HOSTILE = Path(__file__).with_name("hostile_plugin.py").read_text()
"""One verifier whose completion says what to do, so that one set of workers serves most tests."""


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
def hostile(tmp_path_factory: pytest.TempPathFactory, write: Any) -> Any:
    """A runner with the hostile verifier and a limit of a second, and the folder where its daemons leave their pids."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "daemons").mkdir()
    write(folder, "hostile", HOSTILE)
    use = VerifierConfig(name="hostile", timeout=0.8, settings={"where": str(folder / "daemons")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_secret")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        with Runner([use], folder=folder, workers=2, memory_bytes=4 * 2**30) as runner:
            yield runner, folder / "daemons"


def judge(hostile: Any, *completions: str) -> list[Verdict]:
    return hostile[0].judge([VerifierInput("", completion) for completion in completions])


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


@pytest.mark.parametrize("how", ["garbage", "no verdict", "a number", "deep", "long", "clock"])
def test_a_verifier_that_writes_into_its_workers_pipe_costs_its_own_sample(hostile: Any, how: str) -> None:
    lied, *others = judge(hostile, f"lie:{how}", "pass", "fail")
    assert (lied.score, lied.passed) == (None, None)
    assert "crashed" in lied.reason or "ran longer" in lied.reason
    assert [v.passed for v in others] == [True, False]


def test_a_verifier_that_writes_before_its_worker_is_ready_is_one_message(tmp_path: Path, write: Any) -> None:
    frame = 'b"\\0\\0\\0\\x02[]"'
    write(tmp_path, "hostile", HOSTILE + f"\nfor fd in range(3, 20):\n    try:\n        os.write(fd, {frame})\n"
          "    except OSError:\n        pass\n")  # fmt: skip
    with (
        pytest.raises(PrerlkitError, match="doesn't keep to its protocol"),
        Runner([VerifierConfig(name="hostile")], folder=tmp_path, workers=1),
    ):
        pass


def test_one_time_loading_is_not_the_samples_time(hostile: Any) -> None:
    assert [v.passed for v in judge(hostile, "load")] == [True]


@pytest.mark.parametrize("completion", ["daemon_hang", "daemon_crash"])
def test_a_kill_reaches_daemons(hostile: Any, completion: str) -> None:
    folder = hostile[1]
    old = set(folder.iterdir())
    assert judge(hostile, completion)[0].passed is None
    (started,) = set(folder.iterdir()) - old
    assert eventually(lambda: not alive(int(started.name)))


def test_closing_ends_daemons_and_workers(tmp_path: Path, write: Any) -> None:
    write(tmp_path, "hostile", HOSTILE)
    with Runner(
        [VerifierConfig(name="hostile", settings={"where": str(tmp_path)})], folder=tmp_path, workers=1
    ) as runner:
        daemon, plain = runner.judge([VerifierInput("", "daemon"), VerifierInput("", "pass")])
        assert daemon.passed
        assert eventually(lambda: any(path.name.isdigit() for path in tmp_path.iterdir()))
        (pid,) = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
        assert alive(pid)
        assert alive(plain.details["pid"])
    assert eventually(lambda: not alive(pid))
    assert not alive(plain.details["pid"])


def test_a_subprocess_verifier_leaves_nothing_running_after_its_batch(tmp_path: Path, write: Any) -> None:
    write(
        tmp_path, "hostile", HOSTILE.replace("needs_answer = False", 'needs_answer = False; resources = "subprocess"')
    )
    with Runner(
        [VerifierConfig(name="hostile", settings={"where": str(tmp_path)})], folder=tmp_path, workers=1
    ) as runner:
        assert runner.judge([VerifierInput("", "daemon")])[0].passed
        assert eventually(lambda: any(path.name.isdigit() for path in tmp_path.iterdir()))
        runner.judge([VerifierInput("", "pass")])
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
    sample = VerifierInput("p", "echo:" + text, answer=text, row={"a": [1, None, {"b": text}]})
    (verdict,) = hostile[0].judge([sample])
    assert verdict.details == {"completion": "echo:" + text, "answer": text, "row": {"a": [1, None, {"b": text}]}}


def test_a_row_that_json_cannot_hold_is_unjudged(hostile: Any) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    verdicts = hostile[0].judge([VerifierInput("", "pass", row=circle), VerifierInput("", "pass", row={"day": object})])
    assert [v.passed for v in verdicts] == [None, True]
    assert "row" in verdicts[0].reason


def test_order_is_kept(hostile: Any) -> None:
    samples = [VerifierInput("", f"echo:{i}") for i in range(300)]
    assert [v.details["completion"] for v in hostile[0].judge(samples)] == [f"echo:{i}" for i in range(300)]


def test_workers_outlive_ctrl_c_and_die_with_a_killed_parent(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "slow", simple("slow", "open(sample.prompt, 'w').write(str(os.getpid())); time.sleep(100)"))
    script = f"""
import sys, signal, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from types import SimpleNamespace
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
signal.signal(signal.SIGINT, signal.SIG_IGN)
folder = Path({str(tmp_path)!r})
use = SimpleNamespace(name="slow", settings={{}}, weight=1.0, timeout=100.0, environment=())
with Runner([use], folder=folder, workers=1) as runner:
    runner.submit(VerifierInput(str(folder / "pid"), ""))
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
