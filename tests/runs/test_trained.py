"""A run opened for its policy: which adapters, of which step, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.load import dump
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.checkpoint import Position
from prerlkit.runs.run import Run
from prerlkit.runs.trained import TrainedRun
from prerlkit.runs.writer import RunWriter


@pytest.fixture
def make(tiny_recipe, tiny_policy, tmp_path):
    """A function that writes a run of two stages, with the checkpoint of its last step, and gives its folder."""

    def write(reason: str = "completed", **second) -> object:
        plain = tiny_recipe()
        plain["stages"][1] |= second
        recipe = Recipe.model_validate(plain)
        writer = RunWriter(tmp_path / "run")
        with writer.locked():
            writer.create("refuse")
            writer.write_recipe(dump(recipe))
            writer.write_environment({"model": {"revision": "c0ffee", "fingerprint": {"digest": "x"}}})
            for stage in recipe.stages:
                tiny_policy.adapters.fresh(stage.name, stage.adapter, seed=1)
                writer.save_stage(tiny_policy.adapters, stage.name, recipe.model.id)
            optimizer = torch.optim.AdamW(tiny_policy.adapters.trainable)
            writer.save_checkpoint(Position(1, 1, 3), tiny_policy.adapters, optimizer)
            writer.write_summary({"exit_reason": reason})
        return tmp_path / "run"

    return write


def test_a_finished_run_is_the_sum_of_its_stages(make):
    run = TrainedRun.open(make())
    assert [stage.name for stage, _ in run.adapters] == ["warmup", "rl"]
    assert (run.step, run.complete, run.model.revision, run.base_fingerprint) == (4, True, "c0ffee", {"digest": "x"})
    assert [part.name for part in run.parts] == ["warmup", "rl"]
    file = run.adapters[0][1]
    save_file({key: value + 1 for key, value in load_file(file).items()}, file)
    assert TrainedRun.open(run.folder).fingerprint != run.fingerprint


def test_a_stage_that_continued_another_represents_both(make):
    run = TrainedRun.open(make(reincarnation="continue"))
    assert [(stage.name, file.parent.name) for stage, file in run.adapters] == [("rl", "rl")]


def test_an_unfinished_run_is_used_at_its_checkpoint_when_that_is_asked_for(make):
    folder = make("stopped")
    with pytest.raises(UsageError, match=r"did not finish .stopped.; its last checkpoint is of step 3 of 4"):
        TrainedRun.open(folder)
    run = TrainedRun.open(folder, checkpoint=True)
    assert (run.step, run.complete) == (3, False)
    assert [file.name for _, file in run.adapters] == ["adapter_model.safetensors", "adapter.rl.safetensors"]


def test_metrics_and_evaluations_end_at_the_step_of_the_policy(make):
    folder = make("stopped")
    for name, key in (("metrics", "stage"), ("evaluations", "name")):
        lines = [json.dumps({"step": step, key: "x"}) + "\n" for step in (1, 2, 3, 4)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    run = TrainedRun.open(folder, checkpoint=True)
    assert [line["step"] for line in run.steps] == [line["step"] for line in run.evaluations] == [1, 2, 3]
    assert len(run.run.steps) == 4


def test_a_damaged_adapter_is_refused_at_once_where_weights_are_wanted(make):
    folder = make()
    (folder / "adapters" / "rl" / "adapter_model.safetensors").write_bytes(b"torn")
    TrainedRun.open(folder)
    with pytest.raises(PrerlkitError, match=r"rl/adapter_model.safetensors can't be read"):
        TrainedRun.open(folder, weights=True)


def test_a_recipe_of_another_version_is_reported_on_and_not_used(make):
    folder = make()
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "a_key_of_another_version: 1\n")
    assert (Run.open(folder).state, Run.open(folder).recipe["a_key_of_another_version"]) == ("completed", 1)
    with pytest.raises(UsageError, match="a_key_of_another_version"):
        TrainedRun.open(folder)
