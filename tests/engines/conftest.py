"""Real vLLM: `.ci/run` makes an environment with it. Elsewhere these tests are skipped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
FOLDER = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def vllm():
    return pytest.importorskip("vllm", reason="vLLM is not installed; .ci/run tests with it")


@pytest.fixture(scope="session")
def small(tmp_path_factory, make_model, make_tokenizer):
    """A random Llama with heads of 32: vLLM's CPU attention takes no smaller ones."""
    folder = tmp_path_factory.mktemp("small-llama")
    make_model(hidden_size=128, intermediate_size=256).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def in_process(vllm):
    """The module `in_process.py`, under a name that an engine's process can import too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import in_process

        yield in_process


@pytest.fixture
def vllm_recipe(small, tiny_recipe):
    """The tiny recipe of two stages, on `small` and vLLM; `vllm` are settings of the engine."""

    def make(vllm=None, **changes):
        data = tiny_recipe(**changes)
        data["model"] = {**data["model"], "id": str(small)}
        data["rollout"] = {**data["rollout"], "engine": "vllm", "max_new_tokens": 8, "vllm": vllm or {}}
        return data

    return make


class Callback:
    """Keeps every event; `on_step` is called after each step."""

    def __init__(self):
        self.notes, self.records, self.on_step = [], [], lambda record: None

    def on_message(self, text):
        self.notes.append(text)

    def on_stage_begin(self, *_):
        pass

    def progress(self, *_):
        pass

    def on_evaluate(self, *_):
        pass

    def on_stage_end(self, *_):
        pass

    def on_step_end(self, record, *_):
        self.records.append(record)
        self.on_step(record)


@pytest.fixture
def callback():
    return Callback()


@pytest.fixture
def vllm_server(vllm, tmp_path):
    """A function that starts vLLM's own server and gives its address.

    `vllm serve` of the CPU build fails: it asks for the version of a package "vllm". The server is the same.
    """
    started = []

    def start(model: str, *options: str, **environment: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, *options]
        command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        command += ["--kv-cache-memory-bytes", str(32 << 20)]
        log = (tmp_path / f"serve-{port}.log").open("w")
        server = subprocess.Popen(
            command,
            env={**os.environ, "VLLM_NO_USAGE_STATS": "1", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started.append(server)
        end = time.monotonic() + 300
        while time.monotonic() < end and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://127.0.0.1:{port}"
            time.sleep(0.5)
        pytest.fail((tmp_path / f"serve-{port}.log").read_text()[-3000:])

    yield start
    for server in started:
        if server.poll() is not None:
            continue
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
