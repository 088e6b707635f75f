"""Every recipe that comes with the package: found recursively, valid, and opened by what a person needs to know."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from prerlkit.recipe.load import dump, load, packaged
from prerlkit.recipe.schema import Recipe
from prerlkit.train.validate import check_settings

RECIPES = packaged()


def test_all_recipe_files_are_seen():
    folder = Path(__file__).parents[2] / "recipes"
    files = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    assert len(files) >= 4
    assert set(RECIPES) == files


@pytest.mark.parametrize("name", RECIPES)
def test_a_packaged_recipe_is_valid_and_named_as_its_file(name):
    loaded = load(name)
    check_settings(loaded.recipe, loaded.folder)
    assert loaded.recipe.name == Path(name).name
    assert loaded.recipe.description
    assert load(name, ["seed=5"]).recipe.seed == 5
    assert Recipe.model_validate(YAML(typ="safe", pure=True).load(dump(loaded.recipe))) == loaded.recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_packaged_recipe_opens_with_its_command_and_needs(name):
    head = RECIPES[name].read_text(encoding="utf-8").split("\nname:")[0]
    assert f"prerlkit run {name}" in head
    assert "Needs" in head
    assert "Expect" in head


@pytest.mark.parametrize("name", RECIPES)
def test_the_json_schema_accepts_what_the_loader_accepts(name):
    """What an editor checks must not call a good recipe wrong."""
    document = YAML(typ="safe", pure=True).load(RECIPES[name].read_text(encoding="utf-8"))
    jsonschema.validate(document, Recipe.model_json_schema())


def test_the_json_schema_takes_a_stage_that_is_an_adapter_and_no_other_without_an_objective():
    document = YAML(typ="safe", pure=True).load(RECIPES["smoke"].read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(Recipe.model_json_schema())
    ground = {**document, "stages": [{"name": "start", "from": "runs/mine"}, *document["stages"]]}
    assert validator.is_valid(ground)
    ground["stages"][0] = {"name": "start"}
    assert not validator.is_valid(ground)


def test_the_json_schema_refuses_an_unknown_key():
    document = YAML(typ="safe", pure=True).load(RECIPES["smoke"].read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "stagez": []}, Recipe.model_json_schema())


@pytest.mark.parametrize(
    ("server", "right"),
    [(None, True), ("http://a:1", True), (["http://a:1", "http://b:1"], True), (8000, False), ([8000], False)],
)
def test_the_json_schema_takes_one_server_or_a_list(server, right):
    document = YAML(typ="safe", pure=True).load(RECIPES["smoke"].read_text(encoding="utf-8"))
    document["rollout"] = {**document["rollout"], "vllm": {"server": server}}
    validator = jsonschema.Draft202012Validator(Recipe.model_json_schema())
    assert validator.is_valid(document) == right
