"""Ctrl-C at several moments of a real process: what it prints, what the run folder says, and that it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


class Process:
    """`prerlkit` as a process whose output is read as it comes."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prerlkit", *args],
                cwd=folder,
                env={**os.environ, "COLUMNS": "160", "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def wait_for(self, text: str, seconds: float = 240) -> None:
        """Wait until the output has `text`."""
        deadline = time.monotonic() + seconds
        while text not in (output := self.log.read_text()):
            assert time.monotonic() < deadline, output
            assert self.process.poll() is None or text in self.log.read_text(), output
            time.sleep(0.05)

    def press(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        code = self.process.wait(120)
        return code, self.log.read_text()

    def stopped(self) -> str:
        """Return the output of a process that a signal stopped at once, without a traceback."""
        code, output = self.end()
        assert code == 130
        assert "Traceback" not in output
        return output


@pytest.mark.parametrize("marker", ["loading libraries", "start token"])
def test_before_the_first_step_a_run_stops_at_once(recipe_file, tmp_path, marker):
    process = Process(tmp_path, "run", str(recipe_file()), "-o", "out")
    process.wait_for(marker)
    process.press()
    code, output = process.end()
    assert "Traceback" not in output
    assert code == 130 or "stopping the evaluation" in output  # a quick machine is among its evaluations by then
    assert "begins again" in output or "prerlkit resume out" in output


def test_within_a_step_the_first_one_promises_and_the_second_one_stops(recipe_file, tmp_path):
    """A step that takes minutes: its verifier does."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom prerlkit.verify import Verdict, Verifier\nclass Slow(Verifier):\n    name = 'slow'\n"
        "    needs_answer = False\n    def judge(self, sample):\n        time.sleep(600)\n"
    )
    changes = ("verifiers=[{name: 'slow.py:Slow', timeout: 900}]", "evaluation.when=[]")
    words = [word for change in changes for word in ("--set", change)]
    process = Process(tmp_path, "run", str(recipe_file()), "-o", "out", "--trust", *words)
    process.wait_for("stage warmup")
    time.sleep(2)
    process.press()
    process.wait_for("finishing the step; press again to stop now")
    process.press()
    output = process.stopped()
    assert "the run continues from its first step, with:  prerlkit resume out" in output
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["exit_reason"] == "stopped"


def test_a_dose_stops_at_once_where_it_has_no_step_to_finish(tmp_path):
    process = Process(tmp_path, "dose", "reach_dsrl", "-o", "out")
    process.wait_for("loading libraries")
    process.press()
    output = process.stopped()
    assert "stopped; the same command continues" in output


def test_a_sweep_says_what_its_runs_do(recipe_file, tmp_path):
    process = Process(tmp_path, "sweep", str(recipe_file()), "--seeds", "0,1", "-o", "out")
    process.wait_for("seed-0: running")
    process.press()
    process.wait_for("the runs finish their step and save; press again to stop them now", 60)
    output = process.stopped()
    assert "seed-1: running" not in output
    assert "stopped; the same command continues" in output
