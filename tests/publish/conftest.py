"""Finished runs of a tiny model, and a Hub on localhost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from prerlkit.recipe.schema import Recipe
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run as run_recipe


class StopAfter(SilentCallback):
    """Asks for a stop after a given step."""

    def __init__(self, stop: StopSignal, step: int | None) -> None:
        self._stop, self._after = stop, step

    def on_step_end(self, record: Any, done: int, steps: int) -> None:
        if record.step == self._after:
            self._stop.request()


def _train(recipe: dict[str, Any], folder: Path, stop_after: int | None = None) -> Path:
    stop = StopSignal()
    run_recipe(
        Recipe.model_validate(recipe), folder, recipe_folder=None, callback=StopAfter(stop, stop_after), stop=stop
    )
    return folder


@pytest.fixture(scope="session")
def base_model(tmp_path_factory, make_model, make_tokenizer) -> Path:
    """A tiny Llama in bfloat16 that says so itself, with its own licence in a card."""
    folder = tmp_path_factory.mktemp("base") / "tiny-llama"
    make_model().to(torch.bfloat16).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_run(tmp_path_factory, base_model, tiny_recipe):
    """A function that trains the tiny recipe with changes, and gives the run folder."""

    def make(stop_after: int | None = None, **changes: Any) -> Path:
        model = {"id": str(base_model), "dtype": "bfloat16", "device": "cpu"}
        recipe = tiny_recipe(model=model, evaluation={"prompts": 4, "when": ["before", "after"]})
        for stage in recipe["stages"]:
            stage["learning_rate"] = 2e-2
        return _train({**recipe, **changes}, tmp_path_factory.mktemp("runs") / "tiny", stop_after)

    return make


@pytest.fixture(scope="session")
def _finished(make_run) -> Path:
    return make_run()


@pytest.fixture
def finished(_finished, tmp_path) -> Path:
    """A copy of a finished run of two stacked stages."""
    return Path(shutil.copytree(_finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def _hub(new_hub) -> Iterator[Any]:
    server = new_hub()
    yield server
    server.close()


@pytest.fixture
def hub(_hub):
    """An empty Hub that knows `hf_writer`, a token of the user "me"."""
    _hub.reset()
    _hub.user("hf_writer", "me")
    return _hub


@pytest.fixture
def hub_env(hub, tmp_path) -> dict[str, str]:
    """The environment of a process that uses this Hub: its address is read when huggingface_hub is imported."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    return {
        **clean,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_writer",
        "COLUMNS": "160",
    }


@pytest.fixture
def client(hub_env, tmp_path):
    """A function that runs Python code in a process that uses this Hub, and gives what it prints as JSON.

    The code's `say(value)` prints. Waits before retries are left out; the retries are huggingface_hub's own.
    """
    prelude = (
        "import json, sys, time\n"
        "import huggingface_hub.utils._http as http\n"
        "class Clock:\n"
        "    sleep = staticmethod(lambda seconds: None)\n"
        "    def __getattr__(self, name): return getattr(time, name)\n"
        "http.time = Clock()\n"
        "def say(value): print('SAID', json.dumps(value))\n"
        "def attempt(call, *args, **options):\n"
        "    from prerlkit.errors import PrerlkitError\n"
        "    try: return call(*args, **options)\n"
        "    except PrerlkitError as error:\n"
        "        return {'error': error.message, 'hint': error.hint, 'code': error.exit_code}\n"
    )

    def run(code: str, **environment: str) -> list[Any]:
        done = subprocess.run(
            [sys.executable, "-c", prelude + code],
            env={**hub_env, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID ")]

    return run
