"""A stage that ends by a rule: when it holds, what it leaves, and that a resumed run ends where a straight one does."""

from __future__ import annotations

import json

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.probes import Until
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.train.early_stop import reached
from prerlkit.train.validate import check_settings


def a_stage(**rule) -> Stage:
    return Stage.model_validate(
        {"name": "warmup", "objective": "nsr-prerl", "steps": 9, "learning_rate": 1.0, "until": rule or None}
    )


def history(*values: float | None, stage: str = "warmup"):
    return [(stage, {} if value is None else {"m": value}) for value in values]


@pytest.mark.parametrize(
    ("rule", "past", "ends"),
    [
        ({"below": 0.5, "window": 2}, history(0.9, 0.6, 0.3), True),
        ({"below": 0.5, "window": 2}, history(0.9, 0.8, 0.3), False),  # the mean counts, not the last
        ({"below": 0.5, "window": 2}, history(0.3), False),  # too few
        ({"below": 0.5, "window": 2}, history(0.3, None, None, 0.3), True),  # steps without a measurement don't count
        ({"below": 0.5, "window": 1}, [*history(0.1, stage="before"), *history(0.9)], False),  # another stage's
        ({"below": 0.5, "window": 1, "min_steps": 3}, history(0.1, 0.1), False),
        ({"below": 0.5, "window": 1, "min_steps": 3}, history(0.1, 0.1, 0.1), True),
        ({"above": 0.5, "window": 2}, history(0.1, 0.6, 0.6), True),
        ({"above": 0.5, "window": 1}, history(0.5), False),
    ],
)
def test_when_a_rule_holds(rule, past, ends):
    assert bool(reached(a_stage(metric="m", **rule), past)) == ends


def test_no_rule_never_ends_a_stage_and_a_rule_says_why():
    assert reached(a_stage(), history(0.0)) == ""
    text = reached(a_stage(metric="m", below=0.5, window=2), history(0.9, 0.3, 0.4))
    assert text.startswith('stage "warmup" ends after 3 of 9 steps, as its `until` asks: m was 0.35 over its last 2 ')
    assert text.endswith("measurements, below 0.5")


def test_one_of_several_rules_ends_a_stage_and_an_empty_list_is_none():
    rules = [{"metric": "m", "below": 0.5, "window": 1}, {"metric": "n", "above": 0.5, "window": 1}]
    stage = a_stage().model_copy(update={"until": tuple(Until.model_validate(rule) for rule in rules)})
    assert not reached(stage, [("warmup", {"m": 0.9, "n": 0.1})])
    assert "n was 0.6" in reached(stage, [("warmup", {"m": 0.9, "n": 0.6})])
    with pytest.raises(ValueError, match="needs at least one"):
        Stage.model_validate({**stage.model_dump(), "until": []})


@pytest.fixture
def recipe(tiny_recipe):
    """Six steps of warm-up that end after two, by a rule that always holds; then two of GRPO."""
    rule = {"metric": "probe/alignment", "above": -2.0, "window": 2}
    plain = tiny_recipe(probes=[{"name": "alignment", "every": 1}], output={"checkpoint_every": 1})
    plain["stages"][0] |= {"steps": 6, "until": rule}
    return plain


def test_a_stage_that_ended_early_is_finished(go, lines, recipe, tmp_path):
    """The next stage takes over, on the prompts that follow; the summary tells the steps really done."""
    summary, callback = go(recipe, tmp_path / "out")
    assert [(line["step"], line["stage"]) for line in lines(tmp_path / "out" / "metrics.jsonl")] == [
        (1, "warmup"),
        (2, "warmup"),
        (3, "rl"),
        (4, "rl"),
    ]
    words = 'stage "warmup" ends after 2 of 6 steps, as its `until` asks: probe/alignment was'
    assert any(note.startswith(words) for note in callback.notes)
    assert (summary.position.stage, summary.position.step) == (2, 4)
    said = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [{key: stage[key] for key in ("name", "steps", "planned")} for stage in said["stages"]] == [
        {"name": "warmup", "steps": 2, "planned": 6},
        {"name": "rl", "steps": 2, "planned": 2},
    ]
    assert [(e.name, e.step) for e in summary.evaluations] == [("before", 0), ("after warmup", 2), ("after rl", 4)]
    # As if the recipe had said two steps: the rate here is constant.
    straight = {**recipe, "stages": [{**recipe["stages"][0], "steps": 2, "until": None}, recipe["stages"][1]]}
    go(straight, tmp_path / "straight")
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "straight" / weights).read_bytes()


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_run_ends_its_stage_where_a_straight_one_does(go, same_run, recipe, tmp_path, stop_after):
    """Also stopped at the very step after which the stage ends, and in the stage after it."""
    go(recipe, tmp_path / "straight")
    go(recipe, tmp_path / "parts", stop_after=stop_after)
    stopped = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert [stage["steps"] for stage in stopped["stages"]] == [min(2, stop_after), max(0, stop_after - 2)]
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")


def test_steps_of_a_stage_that_a_rule_ended_may_be_named_otherwise_and_the_rule_may_not(go, recipe, tmp_path):
    go(recipe, tmp_path / "out", stop_after=3)
    other = {**recipe, "stages": [{**recipe["stages"][0], "steps": 9}, recipe["stages"][1]]}
    summary, _ = go(other, tmp_path / "out", existing="resume")
    assert summary.position.step == 4
    other["stages"][0] = {**other["stages"][0], "until": None}
    with pytest.raises(UsageError, match="another recipe"):
        go(other, tmp_path / "out", existing="resume")
    fewer = {**recipe, "stages": [{**recipe["stages"][0], "steps": 1}, recipe["stages"][1]]}
    with pytest.raises(UsageError, match="steps of a finished stage can't change"):
        go(fewer, tmp_path / "out", existing="resume")


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("reward/maen", 'no metric "reward/maen"; did you mean "reward/mean"'),
        ("probe/drift/kl", "needs its probe"),
        ("time/step", "differs from run to run"),
    ],
)
def test_a_rule_that_could_never_hold_is_refused(tiny_recipe, metric, words):
    recipe = tiny_recipe(probes=["alignment"])
    recipe["stages"][0]["until"] = {"metric": metric, "below": 1.0}
    with pytest.raises(UsageError, match=words):
        check_settings(Recipe.model_validate(recipe), None)
    recipe["stages"][0]["until"]["metric"] = "reward/mean"
    check_settings(Recipe.model_validate(recipe), None)
