"""The runner's pool: work shared out, several verifiers as one, batches, starts that fail, an end that doesn't wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.combine import Combination
from prerlkit.verify.pool import runner as runner_module
from prerlkit.verify.pool import worker_thread
from prerlkit.verify.pool.jobs import Job, JobQueue, Judgement
from prerlkit.verify.pool.output import LIMIT
from prerlkit.verify.pool.runner import Runner, default_workers


def test_both_workers_work(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "slow", simple("slow", "time.sleep(0.02); return Verdict.of(True, str(os.getpid()))"))
    with Runner([VerifierConfig(name="slow")], folder=tmp_path, workers=2) as runner:
        assert len({v.reason for v in runner.judge([VerifierInput("", "")] * 40)}) == 2


def test_submit_waits_when_too_much_is_pending(tmp_path: Path, write: Any, simple: Any) -> None:
    gate = tmp_path / "gate"
    body = f"[time.sleep(0.01) for _ in iter(lambda: os.path.exists({str(gate)!r}), True)]; return Verdict.of(True)"
    write(tmp_path, "slow", simple("slow", body))
    with Runner([VerifierConfig(name="slow", timeout=60)], folder=tmp_path, workers=1, max_pending=2) as runner:
        futures = [runner.submit(VerifierInput("", "")) for _ in range(2)]
        assert not any(future.done() for future in futures)
        third = threading.Thread(target=lambda: futures.append(runner.submit(VerifierInput("", ""))))
        third.start()
        third.join(0.3)
        assert third.is_alive()
        gate.touch()
        third.join()
        assert [future.result().passed for future in futures] == [True] * 3


def test_several_verifiers_become_one_verdict(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "half", simple("half", "return Verdict(0.5, False, 'meh', {'parts': 2})"))
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    write(
        tmp_path,
        "shy",
        simple("shy", "return Verdict.unjudged('no idea') if 'x' in sample.completion else Verdict.of(True)"),
    )
    uses = [
        VerifierConfig(name="half", weight=3.0),
        VerifierConfig(name="right"),
        VerifierConfig(name="shy", weight=4.0),
        VerifierConfig(name="right", weight=2.0),
    ]
    with Runner(uses, folder=tmp_path, workers=1) as runner:
        plain, shy = runner.judge([VerifierInput("", "a"), VerifierInput("", "x")])
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


def test_no_gold_answer_is_unjudged_without_asking(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "strict", simple("strict", "return Verdict.of(True)").replace("needs_answer = False", ""))
    with Runner([VerifierConfig(name="strict")], folder=tmp_path, workers=1) as runner:
        assert runner.judge([VerifierInput("", "a"), VerifierInput("", "a", answer="")]) == [
            Verdict.unjudged("no gold answer"),
            Verdict.of(True),
        ]


def test_batches_fall_back_to_single_samples(tmp_path: Path, write: Any, simple: Any) -> None:
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
    with Runner([VerifierConfig(name="together", timeout=0.05)], folder=tmp_path, workers=1) as runner:
        runner.judge([VerifierInput("", "")])
        seen = {mode: runner.judge([VerifierInput(mode, "")] * 3) for mode in ("fine", "die", "hang", "short", "raise")}
    assert all(verdict.passed for verdicts in seen.values() for verdict in verdicts)
    assert {mode: verdicts[-1].reason for mode, verdicts in seen.items()}["short"] == "single"
    assert "batch of" in seen["fine"][-1].reason


def test_a_plugin_that_cannot_be_imported_stops_the_start(tmp_path: Path, write: Any) -> None:
    write(tmp_path, "broken", "import nothing_of_that_name\n")
    with (
        pytest.raises(PrerlkitError, match="No module named 'nothing_of_that_name'"),
        Runner([VerifierConfig(name="broken")], folder=tmp_path),
    ):
        pass


def test_a_plugin_that_dies_while_imported_stops_the_start(tmp_path: Path, write: Any) -> None:
    write(tmp_path, "deadly", "import os\nos._exit(7)\n")
    with (
        pytest.raises(PrerlkitError, match="exit code 7 while it started"),
        Runner([VerifierConfig(name="deadly")], folder=tmp_path),
    ):
        pass


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match='no setting toleranse; did you mean "tolerance"'),
        Runner([VerifierConfig(name="math", settings={"toleranse": 1})], workers=1),
    ):
        pass


def test_an_error_in_the_block_does_not_wait_for_hanging_verifiers(tmp_path: Path, write: Any, simple: Any) -> None:
    hangs = 600
    write(tmp_path, "slow", simple("slow", f"time.sleep({hangs}); return Verdict.of(True)"))
    started = time.monotonic()
    futures: list[Future[Verdict]] = []
    with (
        contextlib.suppress(KeyboardInterrupt),
        Runner([VerifierConfig(name="slow", timeout=hangs)], folder=tmp_path, workers=1) as runner,
    ):
        futures = [runner.submit(VerifierInput("", "")) for _ in range(20)]
        time.sleep(0.3)
        raise KeyboardInterrupt
    assert time.monotonic() - started < hangs / 10
    assert all(future.result(timeout=0).passed is None for future in futures)


def test_submitting_to_a_closed_runner_says_so(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    runner = Runner([VerifierConfig(name="right")], folder=tmp_path, workers=1)
    with pytest.raises(PrerlkitError, match="isn't open"):
        runner.submit(VerifierInput("", ""))
    with runner:
        assert runner.submit(VerifierInput("", "")).result().passed
    with pytest.raises(PrerlkitError, match="isn't open"):
        runner.submit(VerifierInput("", ""))


def test_a_pure_verdict_costs_less_than_a_millisecond(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    samples = [VerifierInput("p" * 500, "c" * 2000, "42", {"question": "q" * 300})] * 500
    with Runner([VerifierConfig(name="right")], folder=tmp_path, workers=2) as runner:
        runner.judge(samples)
        started = time.process_time()
        runner.judge(samples)
        # This side's work; a shared machine's wall clock would make the test a matter of luck.
        assert (time.process_time() - started) / len(samples) < 0.001


def test_a_large_or_lone_check_is_a_batch_of_its_own() -> None:
    queue = JobQueue(1, workers=1)
    task = Judgement(Combination((), (), ()))
    sizes = {"a": 10, "b": 10, "large": 2**20, "c": 10, "alone": 10, "d": 10}
    queue.put([Job(task, 0, b"x" * size, alone=name == "alone") for name, size in sizes.items()])
    batches = []
    for _ in range(5):
        batch = queue.take()
        assert batch is not None
        batches.append([len(check.frame) for check in batch])
    assert batches == [[10, 10], [2**20], [10], [10], [10]]


def test_the_pool_keeps_no_threads(tmp_path: Path, write: Any, simple: Any) -> None:
    write(tmp_path, "right", simple("right", "return Verdict.of(True)"))
    before = threading.active_count()
    with Runner([VerifierConfig(name="right")], folder=tmp_path, workers=2):
        assert threading.active_count() == before + 2
    assert threading.active_count() == before


@pytest.mark.parametrize("waiting", ["for a verdict", "to submit"])
def test_a_thread_of_the_pool_that_dies_ends_the_run_with_its_cause(
    tmp_path: Path, write: Any, simple: Any, monkeypatch: pytest.MonkeyPatch, waiting: str
) -> None:
    """Whatever fails in it: no sample waits for a thread that is gone."""
    write(tmp_path, "plain", simple("plain", "return Verdict.of(True)"))

    def broken(*_: object) -> None:
        raise OSError("no more descriptors")

    with Runner([VerifierConfig(name="plain")], folder=tmp_path, workers=1, max_pending=1) as runner:
        monkeypatch.setattr(worker_thread, "_next_verdict", broken)
        first = runner.submit(VerifierInput("", "x"))
        wait = first.result if waiting == "for a verdict" else lambda: runner.submit(VerifierInput("", "y"))
        with pytest.raises(PrerlkitError, match="pool failed: OSError: no more descriptors"):
            wait()
        with pytest.raises(PrerlkitError, match="pool failed"):
            runner.submit(VerifierInput("", "x"))


def test_a_parent_that_ignores_sigchld_loses_no_verdict(tmp_path: Path, write: Any, simple: Any) -> None:
    """As a scheduler or a shell's `trap '' CHLD` leaves it: a dead worker's exit status is gone, and its id too."""
    write(
        tmp_path,
        "dying",
        simple("dying", "os._exit(3) if sample.completion == 'die' else None; return Verdict.of(True)"),
    )
    script = f"""
import signal, sys
from pathlib import Path
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
with Runner([VerifierConfig(name="dying")], folder=Path({str(tmp_path)!r}), workers=1) as runner:
    verdicts = runner.judge([VerifierInput("", text) for text in ("a", "die", "b", "die", "c")])
    print([verdict.passed for verdict in verdicts])
    print(verdicts[1].reason)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("[True, None, True, None, True]"), done.stderr
    assert "SIGCHLD" in done.stdout


def test_workers_are_as_many_as_cores_allow_or_more_where_a_verifier_waits(
    tmp_path: Path, write: Any, simple: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cores, workers in ((1, 2), (2, 2), (8, 4), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)), raising=False)
        assert default_workers(waits=False) == workers
    monkeypatch.setattr(runner_module, "WAITING", 5)
    body = "time.sleep(0.6); return Verdict.of(True, '', pid=os.getpid())"
    write(tmp_path, "waiting", simple("waiting", body, "    waits = True"))
    with Runner([VerifierConfig(name="waiting")], folder=tmp_path) as runner:
        verdicts = runner.judge([VerifierInput("", "x")] * 5)
    assert len({verdict.details["pid"] for verdict in verdicts}) == 5
    with Runner([VerifierConfig(name="waiting")], folder=tmp_path, workers=1) as runner:
        verdicts = runner.judge([VerifierInput("", "x")] * 2)
    assert len({verdict.details["pid"] for verdict in verdicts}) == 1


def test_what_verifiers_print_is_bounded(
    tmp_path: Path, write: Any, simple: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Their own prints and those of what they start; 40 MB in all."""
    body = "print('x' * 1_000_000, flush=True); os.system('head -c 1000000 /dev/zero >&2'); return Verdict.of(True)"
    write(tmp_path, "loud", simple("loud", body))
    with Runner([VerifierConfig(name="loud")], folder=tmp_path, workers=2) as runner:
        assert all(verdict.passed for verdict in runner.judge([VerifierInput("", "x")] * 20))
    said = capfd.readouterr().err
    assert len(said) < LIMIT + 1000
    assert said.count("is left out") == 1


def test_a_limit_of_memory_below_a_workers_own_is_kept(tmp_path: Path, write: Any, simple: Any) -> None:
    """`ulimit -v` of the shell can't be raised by a worker."""
    write(tmp_path, "plain", simple("plain", "return Verdict.of(True)"))
    script = f"""
import resource
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
with Runner([VerifierConfig(name="plain")], folder=Path({str(tmp_path)!r}), workers=1) as runner:
    print(runner.judge([VerifierInput("", "x")])[0].passed)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "True\n", done.stderr
