"""Prompts by their recent pass rate: which are passed over, that it is a function of seed and rates, and resumes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from prerlkit.data.stream import PromptStream
from prerlkit.recipe.rollout import Difficulty, Rollout
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.checkpoint import Position
from prerlkit.train.prompt_order import ByPassRate
from prerlkit.types import Completion, Group, Prompt, Verdict

PROMPTS = [Prompt(f"train/{i}", str(i), (i,)) for i in range(6)]


def group(number: int, passed: int, of: int = 4) -> Group:
    verdicts = tuple(Verdict.of(i < passed) for i in range(of))
    return Group(PROMPTS[number], (Completion((1,), "y", (-1.0,), truncated=False),) * of, verdicts)


def drawing(**rule) -> ByPassRate:
    found = Difficulty(**{"at_least": 0.1, "at_most": 0.9, "others": 0.0, **rule})
    return ByPassRate(PromptStream(PROMPTS, 0, shuffle=False), len(PROMPTS), 0, found)


def step(source: ByPassRate, position: Position, count: int, passed: dict[int, int]) -> tuple[list[int], dict]:
    """The prompts of a step, and what it records. `passed`: of four completions, by prompt."""
    source.begin(position)
    ids = [prompt.token_ids[0] for prompt in source.batch(position.prompts, count)]
    return ids, source.observe([group(number, passed[number]) for number in ids])


PASSED = {0: 0, 1: 2, 2: 4, 3: 1, 4: 0, 5: 3}


def test_prompts_without_a_rate_come_in_turn_then_those_in_the_range():
    source = drawing()
    assert step(source, Position(), 3, PASSED) == ([0, 1, 2], {"difficulty/passed_over": 0, "difficulty/known": 0.5})
    assert step(source, Position(step=1, prompts=3), 3, PASSED)[0] == [3, 4, 5]
    ids, metrics = step(source, Position(step=2, prompts=6), 3, PASSED)
    assert ids == [1, 3, 5]
    assert metrics == {"difficulty/passed_over": 3, "difficulty/known": 1.0}
    assert step(source, Position(step=3, prompts=9), 2, {1: 4, 3: 4})[0] == [1, 3]
    assert step(source, Position(step=4, prompts=11), 2, PASSED)[0] == [5, 5]  # the others are too easy now


def test_no_prompt_in_the_range_ends_after_one_round():
    source = drawing()
    step(source, Position(), 6, dict.fromkeys(range(6), 4))
    assert step(source, Position(step=1, prompts=6), 3, dict.fromkeys(range(6), 4))[0] == [0, 1, 2]


def test_others_are_drawn_at_their_share():
    def known(others: float) -> list[int]:
        source = drawing(others=others)
        step(source, Position(), 6, PASSED)
        source.begin(Position(step=1, prompts=6))
        return [prompt.token_ids[0] for prompt in source.batch(6, 400)]

    easy = sum(number in (0, 2, 4) for number in known(0.5)) / 400
    assert 0.26 < easy < 0.41  # of 3 in the range and 3 at a half: a third
    assert known(0.5) == known(0.5)
    assert set(known(1.0)) == set(range(6))


def test_unjudged_groups_leave_the_rate_as_it_was():
    source = drawing()
    step(source, Position(), 6, PASSED)
    source.begin(Position(step=1, prompts=6))
    unjudged = Group(PROMPTS[1], group(1, 0).completions, (Verdict.unjudged("crashed"),) * 4)
    source.batch(6, 1)
    source.observe([unjudged])
    assert source.state(Position(step=2, prompts=7)).plain["rates"]["train/1"] == 0.5


def test_a_step_that_failed_is_saved_as_it_began():
    source = drawing()
    step(source, Position(), 6, PASSED)
    before = source.state(Position(step=1, prompts=6))
    step(source, Position(step=1, prompts=6), 2, {1: 4, 3: 4})
    assert source.state(Position(step=1, prompts=6)) == before
    again = drawing()
    again.restore(Position(step=1, prompts=6), before)
    assert step(again, Position(step=1, prompts=6), 3, PASSED)[0] == [1, 3, 5]


@pytest.mark.parametrize(
    ("rule", "words"),
    [({"at_least": 0.9, "at_most": 0.1}, "at_least is above"), ({}, "narrow the range"), ({"at_most": 2}, "less than")],
)
def test_settings_that_cannot_be(rule, words):
    with pytest.raises(ValidationError, match=words):
        Rollout(difficulty=rule)


def test_a_run_by_pass_rate_resumes_to_the_byte_also_with_replay_and_refill(go, same_run, lines, tiny_recipe, tmp_path):
    rule = {"at_least": 0.3, "at_most": 0.7, "others": 0.2}
    rollout = {**tiny_recipe()["rollout"], "prompts_per_step": 8, "difficulty": rule, "replay": 0.25, "refill": 1}
    recipe = tiny_recipe(rollout=rollout, evaluation={"when": []})
    recipe["stages"] = [{**recipe["stages"][1], "steps": 5}]
    assert Recipe.model_validate(recipe).stages[0].rollout.difficulty is not None
    go(recipe, tmp_path / "straight")
    for stop in (2, 4):
        go(recipe, tmp_path / f"parts{stop}", stop_after=stop)
        go(recipe, tmp_path / f"parts{stop}", existing="resume")
        same_run(tmp_path / "straight", tmp_path / f"parts{stop}")
    metrics = lines(tmp_path / "straight" / "metrics.jsonl")
    assert metrics[0]["difficulty/passed_over"] == 0
    assert sum(step["difficulty/passed_over"] for step in metrics) > 0, "none was passed over: the test shows nothing"
    assert metrics[-1]["difficulty/known"] == 1.0
