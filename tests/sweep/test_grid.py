"""The points of a sweep: syntax, product, folders, and mistakes found before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prerlkit.errors import UsageError
from prerlkit.sweep.grid import folder_name, points, seed_list, split_values


@pytest.fixture
def recipe(tiny_recipe, tmp_path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_recipe()))  # JSON is YAML
    return str(path)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4,3e-4", ["1e-4", "3e-4"]),
        ("8", ["8"]),
        ("[q_proj, v_proj]", ["[q_proj, v_proj]"]),
        ("all-linear,[q_proj, v_proj]", ["all-linear", "[q_proj, v_proj]"]),
        ("grpo,{preset: grpo, loss: {kind: cispo, high: 2}}", ["grpo", "{preset: grpo, loss: {kind: cispo, high: 2}}"]),
        ("'a, b',c", ["'a, b'", "c"]),
        ("a,", ["a", ""]),
    ],
)
def test_values_end_at_commas_outside_of_brackets(text, values):
    assert split_values(text) == values


def test_seeds():
    assert seed_list("0,1, 5") == [0, 1, 5]
    assert seed_list("0-3") == [0, 1, 2, 3]
    for wrong in ("", "a", "3-1", "1.5"):
        with pytest.raises(UsageError, match="--seeds"):
            seed_list(wrong)


def test_settings_make_a_product_and_one_value_is_for_all(recipe):
    settings = ["adapter.rank=2,4", "stages.rl.learning_rate=1e-3,1e-2", "rollout.group_size=2"]
    found = points([recipe], [0, 1], settings)
    assert len(found) == 8
    assert [str(point.folder) for point in found[:3]] == [
        "rank=2,learning_rate=1e-3/seed-0", "rank=2,learning_rate=1e-3/seed-1", "rank=2,learning_rate=1e-2/seed-0"
    ]  # fmt: skip
    last = found[-1].recipe
    assert (last.seed, last.adapter.rank, last.stages[1].learning_rate) == (1, 4, 1e-2)
    assert last.stages[0].rollout.group_size == 2
    assert found[-1].settings == {"adapter.rank": "4", "stages.rl.learning_rate": "1e-2"}
    assert found[0].steps == 4


def test_without_seeds_it_is_the_recipes_own(recipe):
    (only,) = points([recipe], [], [])
    assert (str(only.folder), only.overrides) == ("seed-0", ())


def test_folder_names_are_safe_and_different():
    assert folder_name({"a.rank": "4", "b.alpha": "8"}) == "rank=4,alpha=8"
    assert folder_name({"a.rank": "4", "b.rank": "8"}) == "a.rank=4,b.rank=8"
    names = {folder_name({"data.path": value}) for value in ("../x", "..\\x", "/x", "a" * 200, "a" * 201)}
    assert len(names) == 5
    assert all("/" not in name and "\\" not in name and len(name) < 80 for name in names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["adapter.rnk=2,4"], r"--set adapter.rnk=2.*rnk: unknown key; did you mean \"rank\""),
        (["adapter.rank=2,x"], "adapter.rank"),
        (["adapter.rank=2,"], "adapter.rank"),
        (["adapter.rank"], "not of the form path=value"),
        (["adapter.rank=2", "adapter.rank=4"], "there twice"),
        (["seed=0,1"], "seeds are given by --seeds"),
        (["adapter.rank=2,2"], "two points of the sweep are the same"),
        (['verifiers=[{name: regx}],[{name: regex, settings: {must_match: ["1"]}}]'], "regx"),
    ],
)
def test_a_mistake_in_any_point_is_found_first(recipe, settings, message):
    with pytest.raises(UsageError, match=message):
        points([recipe], [0, 1], settings)


def test_recipes_of_the_same_name_are_refused(recipe, tmp_path):
    other = tmp_path / "copy.yaml"
    other.write_text(Path(recipe).read_text())
    with pytest.raises(UsageError, match="two points of the sweep are the same: tiny/seed-0"):
        points([recipe, str(other)], [0], [])
