"""Whole runs on vLLM as on CUDA (`in_process.py`): signals to a run and its engine, and an engine that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from prerlkit.errors import PrerlkitError
from prerlkit.recipe.schema import Recipe
from prerlkit.train.callbacks import StopSignal
from prerlkit.train.run import run

LIMIT = 80
"""Tokens of a completion: a rollout of some seconds."""


@pytest.fixture
def engine_folder(tmp_path, monkeypatch, in_process):
    """Where the executor counts its passes and looks for a fault."""
    folder = tmp_path / "engine"
    folder.mkdir()
    monkeypatch.setenv(in_process.FOLDER, str(folder))
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    return folder


def passes(folder: Path) -> int:
    file = folder / "passes"
    return file.stat().st_size if file.exists() else 0


def wait_for(holds, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.05)


def records(out: Path, name: str) -> list[dict]:
    file = out / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def in_a_rollout(process: subprocess.Popen, engine_folder: Path, out: Path, after: int) -> None:
    """Wait until the run has made `after` steps and decodes the next one."""
    wait_for(lambda: len(records(out, "metrics")) >= after or process.poll() is not None)
    begun = passes(engine_folder)
    wait_for(lambda: passes(engine_folder) > begun + 10 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]


def test_ctrl_c_in_a_rollout_then_kill_9_then_the_rest_of_the_run(vllm_recipe, engine_folder, tmp_path):
    rollout = {"group_size": 4, "prompts_per_step": 2, "max_prompt_tokens": 200, "engine": "vllm"}
    stages = vllm_recipe()["stages"]
    data = vllm_recipe(
        stages=[{**stages[0], "steps": 2}, {**stages[1], "steps": 2}],
        evaluation={"when": [], "prompts": 2},
        output={"checkpoint_every": 1, "samples_per_step": 2},
    )
    data["rollout"] = {**rollout, "max_new_tokens": LIMIT}
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(data))
    program = str(Path(__file__).with_name("in_process.py"))

    def start(*command: str) -> subprocess.Popen:
        """A process group like a terminal's: Ctrl-C goes to the trainer and to all that it started."""
        return subprocess.Popen(
            [sys.executable, program, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    trainer = start("run", str(recipe), "-o", str(out))
    in_a_rollout(trainer, engine_folder, out, after=1)
    os.killpg(trainer.pid, signal.SIGINT)
    said, _ = trainer.communicate(timeout=120)
    assert trainer.returncode == 0, said
    assert "stopped after 2 steps" in said
    assert "starting it again" not in said  # the engine did not notice
    completions = [one for group in records(out, "samples") if group["step"] == 2 for one in group["completions"]]
    assert len(completions) == 8
    assert any(one["truncated"] for one in completions)
    assert all(one["tokens"] == LIMIT for one in completions if one["truncated"])  # no stump

    trainer = start("resume", str(out))
    in_a_rollout(trainer, engine_folder, out, after=3)
    below = psutil.Process(trainer.pid).children(recursive=True)
    (engine,) = [child for child in below if "EngineCore" in " ".join([child.name(), *child.cmdline()])]
    (files,) = (tmp_path / "cache").glob("engine-*")
    trainer.kill()
    trainer.communicate()
    wait_for(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, 20)
    wait_for(lambda: not files.exists(), 20)

    trainer = start("resume", str(out))
    said, _ = trainer.communicate(timeout=200)
    assert "completed after 4 steps" in said
    assert [record["step"] for record in records(out, "metrics")] == [1, 2, 3, 4]
    assert not list((tmp_path / "cache").glob("engine-*"))


def test_an_engine_that_fails_once_is_started_again_and_one_that_fails_twice_ends_the_run(
    vllm, in_process, vllm_recipe, callback, engine_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(vllm, "LLM", in_process.as_on_cuda())
    data = vllm_recipe(output={"checkpoint_every": 1}, evaluation={"when": [], "prompts": 2})
    recipe, out = Recipe.model_validate(data), tmp_path / "out"
    fault = engine_folder / "fault"

    def fail(record):
        if record.step < 3:
            fault.write_text("once" if record.step == 1 else "always")

    callback.on_step = fail
    where = {"recipe_folder": None, "callback": callback, "stop": StopSignal()}
    with pytest.raises(PrerlkitError, match="vLLM") as caught:
        run(recipe, out, **where)
    assert "--resume" in caught.value.hint
    assert [record.step for record in callback.records] == [1, 2]
    assert len([note for note in callback.notes if "starting it again, once" in note]) == 2
    assert not list((tmp_path / "cache").glob("engine-*"))

    fault.unlink()
    callback.on_step = lambda record: None
    assert run(recipe, out, existing="resume", **where).exit_reason == "completed"
    assert [record.step for record in callback.records] == [1, 2, 3, 4]


def test_an_engine_that_is_ended_by_a_scheduler_gives_no_stumps(
    vllm, in_process, vllm_recipe, callback, engine_folder, tmp_path, monkeypatch
):
    """SIGTERM to the engine: vLLM returns what it decodes as finished, with reason `abort`."""
    monkeypatch.setattr(vllm, "LLM", in_process.as_on_cuda())
    data = vllm_recipe(evaluation={"when": [], "prompts": 2}, output={"samples_per_step": 2})
    data["stages"] = data["stages"][1:]
    data["rollout"] |= {"max_new_tokens": LIMIT}
    ended: list[int] = []

    def end(what, done, total):
        if what == "rollout" and callback.records and not ended:
            for child in psutil.Process().children(recursive=True):
                if "EngineCore" in " ".join([child.name(), *child.cmdline()]):
                    child.terminate()
                    ended.append(child.pid)

    callback.progress = end
    out = tmp_path / "out"
    summary = run(Recipe.model_validate(data), out, recipe_folder=None, callback=callback, stop=StopSignal())
    assert len(ended) == 1
    assert summary.exit_reason == "completed"
    assert [note for note in callback.notes if "starting it again, once" in note]
    completions = [one for group in records(out, "samples") for one in group["completions"]]
    assert len(completions) == 16
    assert all(one["tokens"] == LIMIT for one in completions if one["truncated"])
