"""The process of a local vLLM: Ctrl-C does not reach it, it ends with its trainer, and a call has a time limit.

vLLM is a module made here whose engine is a process that sleeps; `tests/engines` does the same with the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from prerlkit.errors import EngineError, UsageError
from prerlkit.rollout import vllm_local
from prerlkit.rollout.leftovers import EngineFolder, leftover_engines, leftover_note, sweep
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.vllm import AbortedError, Request

FAKE = """
import queue, subprocess, sys, time
from types import SimpleNamespace

class SamplingParams(SimpleNamespace): ...

class Core:
    def __init__(self, process):
        self.process, self.closes = process, True
        self.resources = SimpleNamespace(engine_dead=False)
        self.outputs_queue, self.utility_results = queue.Queue(), {}
    def shutdown(self):
        while not self.closes:
            time.sleep(0.1)
        self.process.kill(); self.process.wait()

class Engine:
    def __init__(self, core):
        self.engine_core, self.requests, self.reason = core, [], "stop"
    def add_request(self, name, prompt, parameters, lora_request=None):
        self.requests.append(name)
    def abort_request(self, names): ...
    def step(self):
        if self.reason == "hang":
            raise self.engine_core.outputs_queue.get()
        logprobs = [{7: SimpleNamespace(logprob=-1.0)}]
        sampled = SimpleNamespace(token_ids=[7], logprobs=logprobs, finish_reason=self.reason)
        return [SimpleNamespace(finished=True, request_id=self.requests.pop(), outputs=[sampled])]

class LLM:
    def __init__(self, *_, **__):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.llm_engine = Engine(Core(process))
"""
TRAINER = """
import sys, time
from pathlib import Path
from prerlkit.rollout import vllm_local
from prerlkit.rollout.leftovers import EngineFolder
held = EngineFolder(Path(sys.argv[1]))
(held.path / "base").mkdir()
settings = vllm_local.LocalSettings(Path("x"), "float32", (), 8, 128, 8, False, True, 0.3, None)
client = vllm_local.LocalVllm(settings, held.path)
print(client._engine.engine_core.process.pid, held.path, flush=True)
time.sleep(600)
"""

SETTINGS = vllm_local.LocalSettings(Path("x"), "float32", (), 8, 128, 8, False, True, 0.3, None)


@pytest.fixture
def fake_vllm(tmp_path, monkeypatch):
    """Put the module on the path; gives its folder."""
    package = tmp_path / "modules" / "vllm"
    (package / "v1" / "engine").mkdir(parents=True)
    for folder in (package, package / "v1", package / "v1" / "engine"):
        (folder / "__init__.py").write_text("")
    (package / "__init__.py").write_text(FAKE)
    (package / "exceptions.py").write_text("class VLLMClientError(Exception): ...\n")
    (package / "v1" / "engine" / "exceptions.py").write_text("class EngineDeadError(Exception): ...\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(package.parent))
    yield package.parent
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm"]:
        del sys.modules[name]  # not by monkeypatch, which would put it back at the end


@pytest.fixture
def client(fake_vllm, tmp_path):
    made = vllm_local.LocalVllm(SETTINGS, tmp_path / "files")
    yield made
    made.close()


def sample(client):
    return list(client.sample([Request((1,), 1, "a")], Sampling(1, 4, 1.0, seed=1), (9,)))


def within_seconds(holds) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def gone(pid: int) -> bool:
    return within_seconds(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("reason", ["abort", "error", "repetition", None])
def test_what_vllm_broke_off_is_not_taken(client, reason):
    assert [s.token_ids for s in sample(client)] == [(7,)]
    client._engine.reason = reason
    with pytest.raises(AbortedError, match="before its end"):
        sample(client)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads signal masks from /proc")
def test_the_engine_never_receives_ctrl_c_and_the_trainer_does(client):
    def blocked(pid):
        line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("SigBlk"))
        return bool(int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1)

    assert blocked(client._engine.engine_core.process.pid)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_step_that_hangs_ends_by_its_time_limit(fake_vllm, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_local, "CALL_SECONDS", 0.3)
    client = vllm_local.LocalVllm(SETTINGS, tmp_path / "files")
    client._engine.reason = "hang"
    with pytest.raises(EngineError, match="no answer"):
        sample(client)
    client.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_ends_with_its_trainer_whatever_ends_it(fake_vllm, tmp_path, number):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(fake_vllm), *sys.path])}
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    engine, folder = trainer.stdout.readline().split()
    assert psutil.pid_exists(int(engine))
    trainer.send_signal(number)
    trainer.communicate()
    assert gone(int(engine))
    assert within_seconds(lambda: not Path(folder).exists())  # the watchdog deletes it after the kill


def test_a_closed_engine_leaves_no_process(fake_vllm, tmp_path):
    before = {child.pid for child in psutil.Process().children()}
    client = vllm_local.LocalVllm(SETTINGS, tmp_path / "files")
    started = {child.pid for child in psutil.Process().children()} - before
    assert len(started) == 2  # the engine and its watchdog
    client.close()
    assert all(gone(pid) for pid in started)


def test_an_engine_that_does_not_close_is_killed_and_its_files_stay(fake_vllm, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_local, "CLOSE_SECONDS", 0.2)
    (tmp_path / "files").mkdir()
    client = vllm_local.LocalVllm(SETTINGS, tmp_path / "files")
    core = client._engine.engine_core
    core.closes = False
    client.close()
    assert core.process.wait(20) == -signal.SIGKILL
    assert (tmp_path / "files").exists()  # the next engine is started on them


def test_an_engine_whose_close_fails_is_killed_and_the_failure_is_raised(fake_vllm, tmp_path, monkeypatch):
    client = vllm_local.LocalVllm(SETTINGS, tmp_path / "files")
    process = client._engine.engine_core.process
    monkeypatch.setattr(client._engine.engine_core, "shutdown", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        client.close()
    assert process.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["ValueError", "VLLMClientError"])
def test_what_vllm_refuses_is_no_death_of_the_engine(client, monkeypatch, kind):
    from vllm.exceptions import VLLMClientError

    def refuse(*_, **__):
        raise {"ValueError": ValueError, "VLLMClientError": VLLMClientError}[kind]("the prompt is too long\nand more")

    monkeypatch.setattr(client._engine, "add_request", refuse)
    with pytest.raises(UsageError, match="refused a request: the prompt is too long"):
        sample(client)


def test_a_start_that_settings_forbid_says_why(fake_vllm, tmp_path, monkeypatch):
    from vllm import LLM

    text = "1 validation error for VllmConfig\n  Value error, it wants Triton. [type=value_error, input_value=1]\n more"
    monkeypatch.setattr(LLM, "__init__", lambda *_, **__: (_ for _ in ()).throw(ValueError(text)))
    with pytest.raises(EngineError, match=r"did not start: Value error, it wants Triton\.\n") as caught:
        vllm_local.LocalVllm(SETTINGS, tmp_path / "files")
    assert "[type" not in caught.value.message


def test_folders_of_dead_runs_are_swept_and_those_of_live_ones_stay(tmp_path):
    live = EngineFolder(tmp_path)
    dead = EngineFolder(tmp_path)
    os.close(dead._lock)  # as the system does when a process ends
    (tmp_path / "engine-of-a-user").mkdir()
    sweep(tmp_path)
    assert not dead.path.exists()
    assert live.path.exists()
    assert (tmp_path / "engine-of-a-user").exists()
    live.remove()
    assert not live.path.exists()
    EngineFolder(tmp_path).remove()
    dead.remove()


def test_a_leftover_engine_is_named_with_its_process(monkeypatch):
    def process(pid, title, parent):
        info = {"pid": pid, "name": "x", "cmdline": [title], "memory_info": SimpleNamespace(rss=5)}
        about = SimpleNamespace(pid=parent, name=lambda: "systemd" if parent == 1 else "python3", cmdline=list)
        return SimpleNamespace(pid=pid, info=info, parent=lambda: about)

    found = [process(10, "VLLM::EngineCore", 1), process(11, "VLLM::EngineCore", 7), process(12, "python3", 1)]
    monkeypatch.setattr(psutil, "process_iter", lambda fields: iter(found))
    assert [one.pid for one in leftover_engines()] == [10]
    assert "kill -9 10" in leftover_note()
    monkeypatch.setattr(psutil, "process_iter", lambda fields: iter(()))
    assert leftover_note() == ""
