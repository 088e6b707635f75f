"""`prerlkit.run()` starts a run as the command does: what can't fit is refused, a signal stops it after the step."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest

import prerlkit
from prerlkit.errors import PrerlkitError
from prerlkit.train.callbacks import SilentCallback


class Listener(SilentCallback):
    """Keeps every event; calls `at_step` with each step's number."""

    def __init__(self, at_step=lambda step: None):
        self.messages, self.steps, self._at_step = [], [], at_step

    def on_message(self, text):
        self.messages.append(text)

    def on_step_end(self, record, done, steps):
        self.steps.append(record.step)
        self._at_step(record.step)


def test_what_cannot_fit_is_refused_and_force_tries(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("prerlkit.plan.device.free_host_memory", lambda: 2**20)
    with pytest.raises(PrerlkitError, match="Nothing was loaded") as refused:
        prerlkit.run(tiny_recipe(), tmp_path / "out")
    assert "force=True" in refused.value.hint
    assert not (tmp_path / "out").exists()
    listener = Listener()
    assert prerlkit.run(tiny_recipe(), tmp_path / "out", callback=listener, force=True).exit_reason == "completed"
    assert not any(message.startswith("planned in") for message in listener.messages)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_the_run_resumes(tiny_recipe, tmp_path, number):
    def interrupt(step):
        if step == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    listener = Listener(interrupt)
    summary = prerlkit.run(tiny_recipe(), tmp_path / "out", callback=listener)
    assert summary.exit_reason == "stopped"
    assert listener.steps == [1, 2]
    assert "finishing the step; press again to stop now" in listener.messages
    assert signal.getsignal(number) is before
    resumed = Listener()
    assert prerlkit.run(tiny_recipe(), tmp_path / "out", existing="resume", callback=resumed).exit_reason == "completed"
    assert resumed.steps[0] == 3


def test_the_second_signal_interrupts(tiny_recipe, tmp_path):
    def interrupt(step):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        prerlkit.run(tiny_recipe(), tmp_path / "out", callback=Listener(interrupt))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_leaves_signals_alone(tiny_recipe, tmp_path):
    handlers, found = [], []
    listener = Listener(lambda step: handlers.append(signal.getsignal(signal.SIGINT)))
    run = threading.Thread(
        target=lambda: found.append(prerlkit.run(tiny_recipe(), tmp_path / "out", callback=listener))
    )
    run.start()
    run.join()
    assert found[0].exit_reason == "completed"
    assert set(handlers) == {signal.getsignal(signal.SIGINT)}


def test_the_command_and_the_function_tell_the_same(tiny_recipe, tmp_path):
    listener = Listener()
    prerlkit.run(tiny_recipe(), tmp_path / "out", callback=listener)
    assert listener.messages[:2] == [f"recipe tiny, seed 0 → {tmp_path / 'out'}", "loading libraries"]
    assert listener.messages[2].startswith("no plan needed: at most ")
    live = f"live report, from another terminal: prerlkit report {tmp_path / 'out'} --watch --open"
    assert live in listener.messages[3:5]  # a note on threads may come first


def test_the_callers_warnings_and_loggers_are_restored(tiny_recipe, tmp_path, caplog):
    during, logger = [], logging.getLogger("transformers")
    caplog.set_level(logging.INFO, logger="transformers")
    filters = list(warnings.filters)
    prerlkit.run(tiny_recipe(), tmp_path / "out", callback=Listener(lambda step: during.append(logger.level)))
    assert set(during) == {logging.ERROR}
    assert logger.level == logging.INFO
    assert warnings.filters == filters


SCRIPT = """
import json, sys
import prerlkit
from prerlkit.train.callbacks import SilentCallback

class Printing(SilentCallback):
    def on_message(self, text):
        print("message:", text)

summary = prerlkit.run(json.load(open(sys.argv[1])), sys.argv[2], callback=Printing())
sys.stdout.write(f"ended: {summary.exit_reason}\\n")  # in one piece: two processes share the pipe
"""


def test_processes_of_a_launcher_share_the_run(tiny_recipe, tmp_path):
    """Started by torchrun, the function does as the command: one run, whose messages the first process receives."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "recipe.json").write_text(json.dumps(tiny_recipe()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    done = subprocess.run(
        [*torchrun, str(tmp_path / "script.py"), str(tmp_path / "recipe.json"), str(tmp_path / "out")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("message: loading libraries") == 1
    assert done.stdout.count("2 processes share each step") == 1
    assert done.stdout.count("ended: completed") == 2
