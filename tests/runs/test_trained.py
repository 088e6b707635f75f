"""A run opened for its policy: which adapters, of which step, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.recipe.load import dump
from prerlkit.recipe.schema import Recipe
from prerlkit.runs import checksums
from prerlkit.runs.checkpoint import Position
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import append_lines
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
    run.files.checksums.unlink()
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


@pytest.mark.parametrize("file", ["adapters/warmup/adapter_model.safetensors", "recipe.yaml", "environment.json"])
def test_a_flipped_bit_in_what_a_finished_run_published_is_found(make, file):
    folder = make()
    data = bytearray((folder / file).read_bytes())
    value = {"recipe.yaml": b"seed: 0", "environment.json": b"c0ffee"}.get(file)
    place = data.index(value) + len(value) - 1 if value else len(data) - 6
    data[place] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(PrerlkitError, match=rf"{file} is not what the run wrote") as error:
        TrainedRun.open(folder, weights=True)
    assert "Restore it from a copy" in error.value.hint


def test_a_missing_adapter_configuration_is_found_where_the_folder_is_read(make):
    folder = make()
    (folder / "adapters" / "rl" / "adapter_config.json").unlink()
    with pytest.raises(PrerlkitError, match=r"adapters/rl/adapter_config.json is missing"):
        checksums.check(RunFiles(folder), [folder / "adapters" / "rl"])


def test_a_run_of_an_earlier_version_is_read_unchecked_and_says_it_in_one_line(make, monkeypatch):
    folder = make()
    assert TrainedRun.open(folder).note == ""
    (folder / "checksums.json").unlink()
    run = TrainedRun.open(folder, weights=True)
    assert "has no checksums.json" in run.note
    assert "\n" not in run.note


def test_a_longer_run_that_was_killed_is_no_completed_one_also_with_a_summary_of_an_earlier_version(make):
    """The summary of the shorter run stayed: 4 steps of 4, while the recipe has 400."""
    folder = make()
    stages = [{"name": "warmup", "steps": 2, "planned": 2}, {"name": "rl", "steps": 2, "planned": 2}]
    (folder / "summary.json").write_text(json.dumps({"exit_reason": "completed", "steps": 4, "stages": stages}))
    assert TrainedRun.open(folder).complete
    recipe = folder / "recipe.yaml"
    text = recipe.read_text()
    recipe.write_text("steps: 400".join(text.rsplit("steps: 2", 1)))
    assert Run.open(folder).state == "broken off"
    with pytest.raises(UsageError, match=r"did not finish .*last checkpoint is of step 3 of 402"):
        TrainedRun.open(folder)
    recipe.write_text(text)
    append_lines(folder / "metrics.jsonl", [{"step": step, "stage": "rl"} for step in range(1, 6)])
    assert Run.open(folder).state == "broken off"
