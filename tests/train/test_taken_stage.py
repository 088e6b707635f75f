"""A first stage taken from another run: the run continues from it as if it had trained it, and misfits are refused."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from prerlkit.errors import PrerlkitError
from prerlkit.recipe.load import dump, load
from prerlkit.recipe.schema import Recipe

WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("taken")


@pytest.fixture
def warm(go, tiny_recipe, place):
    """The folder of a finished run of both stages."""
    if not (place / "warm").exists():
        go(tiny_recipe(), place / "warm")
    return place / "warm"


def taking(recipe: dict, source) -> dict:
    recipe = copy.deepcopy(recipe)
    recipe["stages"][0]["from"] = str(source)
    return recipe


def test_the_second_stage_has_the_ground_that_it_has_in_one_run(go, lines, tiny_recipe, warm, tmp_path):
    _, callback = go(taking(tiny_recipe(), warm), tmp_path / "out")
    assert any(note.startswith(f'stage "warmup" is taken from {warm}:warmup, SHA-256') for note in callback.notes)
    first, second = (path / "adapters" / "warmup" / "adapter_model.safetensors" for path in (warm, tmp_path / "out"))
    assert first.read_bytes() == second.read_bytes()
    evaluations = lines(tmp_path / "out" / "evaluations.jsonl")
    assert [(e["name"], e["step"]) for e in evaluations] == [("before", 0), ("after warmup", 0), ("after rl", 2)]
    here, there = evaluations, lines(warm / "evaluations.jsonl")
    assert [e["accuracy"] for e in here[:2]] == [e["accuracy"] for e in there[:2]]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [(stage["name"], stage["steps"]) for stage in summary["stages"]] == [("warmup", 0), ("rl", 2)]


def test_it_resumes_to_the_byte_also_without_the_other_run(go, same_run, tiny_recipe, warm, tmp_path):
    shutil.copytree(warm, tmp_path / "warm")
    recipe = taking(tiny_recipe(), tmp_path / "warm:warmup")
    go(recipe, tmp_path / "straight")
    go(recipe, tmp_path / "parts", stop_after=1)
    shutil.rmtree(tmp_path / "warm")
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")


def test_the_recipe_that_is_written_down_says_it_and_trains_nothing(tiny_recipe, tmp_path):
    (tmp_path / "again.yaml").write_text(dump(Recipe.model_validate(taking(tiny_recipe(), "runs/warm"))))
    stage = load(str(tmp_path / "again.yaml")).recipe.stages[0]
    assert (stage.source, stage.steps) == ("runs/warm", 0)
    (tmp_path / "plain.yaml").write_text(dump(Recipe.model_validate(tiny_recipe())))
    stage = load(str(tmp_path / "plain.yaml"), ["stages.warmup.from=runs/warm:warmup"]).recipe.stages[0]
    assert (stage.source, stage.steps) == ("runs/warm:warmup", 0)


def test_what_does_not_fit_is_refused_before_the_first_step(
    go, tiny_recipe, make_model, make_tokenizer, warm, tmp_path
):
    def refused(words: str, recipe: dict) -> None:
        with pytest.raises(PrerlkitError, match=words):
            go(recipe, tmp_path / "out")
        assert not (tmp_path / "out" / "metrics.jsonl").exists()

    refused("there is no run folder", taking(tiny_recipe(), tmp_path / "nowhere"))
    refused('has no stage "wramup"; did you mean "warmup"', taking(tiny_recipe(), f"{warm}:wramup"))
    refused('was trained on top of the adapter of "warmup"', taking(tiny_recipe(), f"{warm}:rl"))
    refused("rank 2 there, 4 here", taking(tiny_recipe(adapter={"rank": 4, "alpha": 4}), warm))
    shutil.copytree(warm, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "adapters" / "warmup")
    refused("is not finished", taking(tiny_recipe(), tmp_path / "cut"))
    make_model(seed=1).save_pretrained(tmp_path / "other")
    make_tokenizer().save_pretrained(tmp_path / "other")
    other = tiny_recipe()
    other["model"] = {**other["model"], "id": str(tmp_path / "other")}
    refused("their weights differ", taking(other, warm))


def test_only_a_first_stage_is_taken(tiny_recipe):
    recipe = tiny_recipe()
    recipe["stages"][1] = {**recipe["stages"][1], "from": "runs/warm"}
    with pytest.raises(ValueError, match="goes with the first stage only"):
        Recipe.model_validate(recipe)
