"""The health watch: each rule on made-up metrics, both ways; said once; a stop that saves; the same after a resume."""

from __future__ import annotations

import json

import pytest

from prerlkit.recipe.output import Health
from prerlkit.train import health
from prerlkit.train.health import HealthWatch, Unhealthy

FINE = {
    "group/zero_signal": 0.4,
    "policy/entropy": 1.0,
    "sample/truncated": 0.1,
    "reward/mean": 0.5,
    "reward/pass_rate": 0.5,
    "tokens/completion_mean": 20.0,
    "sample/unjudged": 0.0,
    "optim/nonfinite": 0,
}


def steps(count: int, **changes) -> list[dict[str, float]]:
    """`count` steps; a changed value may be a function of the step's place."""
    named = {key.replace("__", "/"): value for key, value in changes.items()}
    learning = {"reward/mean": lambda n: 0.2 + 0.02 * n}
    made = []
    for n in range(count):
        values = {**FINE, **learning, **named}
        made.append({key: value(n) if callable(value) else value for key, value in values.items()})
    return made


SETTINGS = Health(window=4, nonfinite_limit=3)


def names(history: list[dict[str, float]]) -> list[str]:
    return [warned.name for warned in health.check(history, SETTINGS)]


def test_a_run_that_learns_is_healthy_at_every_step():
    history = steps(30)
    assert [names(history[:n]) for n in range(31)] == [[]] * 31


@pytest.mark.parametrize(
    ("name", "sick", "well"),
    [
        ("no_signal", {"group__zero_signal": 0.97}, {"group__zero_signal": 0.9}),
        ("entropy_collapse", {"policy__entropy": lambda n: 1.0 if n < 4 else 0.05}, {"policy__entropy": 0.05}),
        ("entropy_blowup", {"policy__entropy": lambda n: 1.0 + 0.2 * n}, {"policy__entropy": 4.0}),
        ("all_truncated", {"sample__truncated": 1.0}, {"sample__truncated": 0.9}),
        ("truncation_rise", {"sample__truncated": lambda n: 0.2 + 0.05 * n}, {"sample__truncated": 0.8}),
        ("flat_reward", {"reward__mean": 0.31}, {"reward__mean": 0.97}),
        (
            "length_runaway",
            {"tokens__completion_mean": lambda n: 20 + 10 * n, "reward__pass_rate": lambda n: 0.5 - 0.03 * n},
            {"tokens__completion_mean": 900},
        ),
        ("drift", {"canary__drift": 0.3}, {"canary__drift": 0.02}),
        ("unjudged", {"sample__unjudged": 0.25}, {"sample__unjudged": 0.1}),
        ("nonfinite", {"optim__nonfinite": 1}, {"optim__nonfinite": lambda n: n % 3 != 0}),
    ],
)
def test_each_condition_is_seen_and_its_likeness_is_not(name, sick, well):
    assert name in names(steps(12, **sick))
    assert name not in names(steps(12, **well))
    assert name not in names(steps(2, **sick)), "a condition must last"
    warned = next(w for w in health.check(steps(12, **sick), SETTINGS) if w.name == name)
    assert str(warned).startswith(f"health: {name}: ")
    assert len(warned.advice) > 40


GROWING = {"tokens__completion_mean": lambda n: 15 + 8 * n}
"""From 27 to 91 tokens between the first four of twelve steps and the last four."""


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({**GROWING}, False),  # the effect that NSR-PreRL is used for: longer, and as often right
        ({**GROWING, "reward__pass_rate": lambda n: 0.2 + 0.02 * n}, False),
        ({**GROWING, "reward__pass_rate": lambda n: 0.064 if n < 6 else 0.056}, False),  # as measured: 6.4 % to 5.6 %
        ({**GROWING, "sample__truncated": lambda n: 0.03 * n}, False),
        ({**GROWING, "reward__pass_rate": lambda n: 0.2 - 0.015 * n}, True),
        ({**GROWING, "reward__pass_rate": 0.0}, True),  # nothing is ever right, and it grows
        ({"reward__pass_rate": lambda n: 0.2 - 0.015 * n}, False),  # worse, but not longer
        # Held up by the token limit: no three times as long, but more and more are cut, and fewer are right.
        ({"sample__truncated": lambda n: 0.03 * n, "reward__pass_rate": lambda n: 0.2 - 0.015 * n}, True),
        ({"sample__truncated": lambda n: 0.03 * n}, False),
    ],
)
def test_longer_answers_are_a_fault_only_where_they_are_worse(changes, held):
    changes = {"tokens__completion_mean": 20.0, **changes}
    assert ("length_runaway" in names(steps(12, **changes))) == held


def test_every_rule_has_a_name_that_a_recipe_can_stop_on():
    from typing import get_args

    from prerlkit.recipe.output import HealthName

    assert tuple(health.RULES) == get_args(HealthName)


def test_a_warning_is_said_when_it_begins_and_kept_in_the_metrics_while_it_lasts():
    said: list[str] = []
    watch = HealthWatch(SETTINGS, said.append)
    truncated = [0.1] * 4 + [1.0] * 6 + [0.1] * 4 + [1.0] * 5
    marked = []
    for n, share in enumerate(truncated):
        step = {**FINE, "reward/mean": 0.2 + 0.03 * n, "sample/truncated": share}
        marked.append("health/all_truncated" in watch.examine("rl", step))
    assert marked == [False] * 7 + [True] * 3 + [False] * 7 + [True] * 2
    assert sum("all_truncated" in line for line in said) == 2


def test_a_new_stage_is_judged_by_its_own_steps():
    watch = HealthWatch(SETTINGS, print)
    for step in steps(12, sample__truncated=1.0):
        assert watch.examine("one", step) is not None
    assert watch.examine("two", steps(1, sample__truncated=1.0)[0]) == {}


def test_a_watch_that_goes_on_says_what_a_straight_one_would_have():
    history = steps(14, policy__entropy=lambda n: 1.0 if n < 6 else 0.01)
    for cut in range(14):
        straight: list[str] = []
        whole = HealthWatch(SETTINGS, straight.append)
        first = [whole.examine("rl", step) for step in history]
        parts: list[str] = []
        before = HealthWatch(SETTINGS, parts.append)
        second = [before.examine("rl", step) for step in history[:cut]]
        after = HealthWatch(SETTINGS, parts.append, [("rl", step) for step in history[:cut]])
        second += [after.examine("rl", step) for step in history[cut:]]
        assert (first, straight) == (second, parts)
        assert len(straight) == 1


def test_a_stop_rule_saves_and_stops_and_the_run_goes_on_without_it(go, lines, tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        verifiers=[{"name": "regex", "settings": {"must_match": [""]}}],  # all pass: no signal
        health={"window": 2, "stop_on": ["no_signal"]},
        output={"checkpoint_every": 0},
    )
    recipe["stages"] = [{"name": "rl", "objective": "grpo", "steps": 6, "learning_rate": 0.01}]
    with pytest.raises(Unhealthy, match=r'no_signal in stage "rl": 100% of the groups') as error:
        go(recipe, tmp_path / "out")
    assert "rollout.group_size" in error.value.hint
    assert f"`prerlkit resume {tmp_path / 'out'}` continues" in error.value.hint
    metrics = lines(tmp_path / "out" / "metrics.jsonl")
    assert [m.get("health/no_signal") for m in metrics] == [None, 1.0]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["exit_reason"].startswith("failed: Unhealthy")
    assert (tmp_path / "out" / "checkpoints" / "step-000002").is_dir()
    summary, callback = go({**recipe, "health": {"window": 2}}, tmp_path / "out", existing="resume")
    assert summary.exit_reason == "completed"
    assert [record.step for record in callback.records] == [3, 4, 5, 6]
