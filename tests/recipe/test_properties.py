"""Whatever a recipe or an override holds, it is read or refused with a message: nothing else ever comes out."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from prerlkit.errors import UsageError
from prerlkit.recipe.load import dump, load, packaged, read_yaml
from prerlkit.recipe.schema import Recipe

BASE = load("quickstart_dsrl").recipe.model_dump(mode="json")
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def paths(node, prefix=()):
    """Every place in plain data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from paths(value, (*prefix, key))


PLACES = list(paths(BASE))


def put(data, path, value):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def write(folder: Path, data: object) -> str:
    path = folder / "any.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(data, file)
    return str(path)


def read_or_refused(name: str, overrides=()) -> Recipe | None:
    try:
        return load(name, overrides).recipe
    except UsageError as error:
        if not error.message.strip():
            pytest.fail("refused without a word")
        return None


@FEW
@given(place=st.sampled_from(PLACES), value=values)
def test_any_value_at_any_place_is_read_or_refused(tmp_path, place, value):
    data = copy.deepcopy(BASE)
    put(data, place, value)
    recipe = read_or_refused(write(tmp_path, data))
    if recipe is not None:
        assert load(write(tmp_path, recipe.model_dump(mode="json"))).recipe == recipe


@FEW
@given(place=st.sampled_from(PLACES), value=values)
def test_any_override_is_read_or_refused(place, value):
    override = f"{'.'.join(map(str, place))}={value}"
    read_or_refused("quickstart_dsrl", [override])


@FEW
@given(override=st.text(max_size=40))
def test_any_text_as_an_override(override):
    read_or_refused("quickstart_dsrl", [override])


@FEW
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_as_a_recipe(tmp_path, content):
    (tmp_path / "any.yaml").write_bytes(content)
    assert read_or_refused(str(tmp_path / "any.yaml")) is None


@FEW
@given(
    seed=st.integers(-(2**62), 2**62),
    rank=st.integers(1, 512),
    rate=st.floats(1e-9, 1.0),
    steps=st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
    text=st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"]), max_size=30),
)
def test_a_right_recipe_survives_being_written(tmp_path, seed, rank, rate, steps, text):
    data = copy.deepcopy(BASE)
    stage = data["stages"][0]
    data.update(seed=seed, description=text, adapter={**data["adapter"], "rank": rank})
    data["stages"] = [
        {**stage, "name": f"s{i}", "steps": n, "learning_rate": rate, "adapter": data["adapter"]}
        for i, n in enumerate(steps)
    ]
    recipe = load(write(tmp_path, data)).recipe
    assert (recipe.seed, recipe.description, recipe.adapter.rank) == (seed, text, rank)
    (tmp_path / "again.yaml").write_text(dump(recipe), encoding="utf-8")
    assert load(str(tmp_path / "again.yaml")).recipe == recipe


@FEW
@given(place=st.sampled_from([p for p in PLACES if isinstance(p[-1], str)]), letter=st.sampled_from("xqz"))
def test_a_letter_too_many_is_found_at_its_line(tmp_path, place, letter):
    """Every key of the schema, misspelt: the message has the line and the key as it was written."""
    free = ("settings", "template_options")
    if any(part in free for part in place[:-1]):
        return  # keys there are the verifier's or the generator's own
    data = copy.deepcopy(BASE)
    node = data
    for key in place[:-1]:
        node = node[key]
    wrong = f"{place[-1]}{letter}"
    renamed = {wrong if key == place[-1] else key: value for key, value in node.items()}
    node.clear()
    node.update(renamed)
    name = write(tmp_path, data)
    with pytest.raises(UsageError) as error:
        load(name)
    lines = Path(name).read_text().splitlines()
    numbers = [n for n, line in enumerate(lines, 1) if f"{wrong}:" in line]
    assert any(f"any.yaml:{n}: " in error.value.message for n in numbers) or wrong.startswith("kind")


def test_every_packaged_recipe_is_read_as_yaml():
    assert len(packaged()) >= 4
    for path in packaged().values():
        assert read_yaml(path)["name"]
