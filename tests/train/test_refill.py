"""Dynamic sampling: which prompts are drawn again, what a step then trains on, and what it counts."""

from __future__ import annotations

import pytest

from prerlkit.data.stream import PromptStream
from prerlkit.objective.advantage import count, select
from prerlkit.recipe.rollout import Rollout
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.protocol import WeightSync
from prerlkit.train.metrics import group_metrics
from prerlkit.train.refill import found_nothing, refill_metrics, sample_groups
from prerlkit.train.sample_and_judge import RolloutBatch
from prerlkit.types import Completion, Group, Prompt, Verdict

PROMPTS = [Prompt(f"train/{i}", str(i), (i,)) for i in range(10)]
WITH_SIGNAL = {1, 4, 5, 8}


def group(prompt: Prompt, signal: bool) -> Group:
    completions = (Completion((1, 2), "y", (-1.0, -1.0), truncated=False),) * 2
    return Group(prompt, completions, (Verdict.of(signal), Verdict.of(False)))


def step(refill: int, prompts_per_step: int = 3, with_signal: set[int] = WITH_SIGNAL):
    """The groups of a step that begins at prompt 0, what was sampled, and which prompts each draw took."""
    draws: list[list[int]] = []

    def sample(prompts, draw):
        assert draw == len(draws)
        draws.append([p.token_ids[0] for p in prompts])
        groups = tuple(group(p, p.token_ids[0] in with_signal) for p in prompts)
        return RolloutBatch(groups, 2.0, 0.5, WeightSync(1.0, 0.1 * draw, 1.0 - 0.2 * draw))

    rollout = Rollout(prompts_per_step=prompts_per_step, group_size=2, refill=refill)
    groups, drawn = sample_groups(sample, PromptStream(PROMPTS, 0, shuffle=False), 0, rollout)
    return [g.prompt.token_ids[0] for g in groups], groups, drawn, draws, rollout


def test_off_is_the_first_draw_as_it_is():
    ids, groups, drawn, draws, rollout = step(0)
    assert (ids, draws, drawn.draws) == ([0, 1, 2], [[0, 1, 2]], 1)
    assert refill_metrics(groups, drawn, rollout) == {}


@pytest.mark.parametrize(
    ("refill", "draws", "ids"),
    [
        (1, [[0, 1, 2], [3, 4]], [0, 1, 4]),  # 1 and 4 have signal; 0 fills the step up
        (2, [[0, 1, 2], [3, 4], [5]], [1, 4, 5]),
        (9, [[0, 1, 2], [3, 4], [5]], [1, 4, 5]),  # full: no further draw
    ],
)
def test_each_further_draw_takes_as_many_prompts_as_signal_is_missing(refill, draws, ids):
    found = step(refill)
    assert found[3] == draws
    assert found[0] == ids


def test_what_was_sampled_is_counted_and_what_is_trained_on_makes_the_denominator():
    _, groups, drawn, _, rollout = step(1)
    assert refill_metrics(groups, drawn, rollout) == {
        "refill/attempts": 1,
        "refill/groups": 2,
        "refill/filled": pytest.approx(2 / 3),
    }
    assert group_metrics(drawn.groups)["group/zero_signal"] == pytest.approx(3 / 5)  # of all five, not of the three
    objective = Recipe.model_validate(_recipe("grpo")).stages[0].objective[0]
    counts = count(select(groups, objective))
    assert (counts.tokens, counts.sequences) == (3 * 2 * 2, 3 * 2)  # three groups, as without refill
    assert len(groups) == rollout.prompts_per_step


def test_times_add_up_and_the_worst_canary_stays():
    drawn = step(2)[2]
    assert (drawn.rollout_seconds, drawn.verify_seconds, drawn.draws) == (6.0, 1.5, 3)
    assert drawn.sync == WeightSync(3.0, pytest.approx(0.2), pytest.approx(0.6))


def test_a_refill_that_never_finds_signal_keeps_the_first_groups_and_is_reported_once():
    ids, groups, drawn, draws, rollout = step(2, with_signal=set())
    assert (ids, draws) == ([0, 1, 2], [[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    metrics = refill_metrics(groups, drawn, rollout)
    line = found_nothing(metrics, "rl", [])
    assert line is not None
    assert "2 further draws gave 6 groups" in line
    assert found_nothing(metrics, "rl", [("rl", metrics)]) is None
    assert found_nothing(metrics, "rl", [("warmup", metrics)]) == line
    assert found_nothing({}, "rl", []) is None


def test_a_prompt_without_two_verdicts_has_no_signal():
    unjudged = Group(PROMPTS[0], group(PROMPTS[0], True).completions, (Verdict.of(True), Verdict.unjudged("crashed")))
    rollout = Rollout(prompts_per_step=1, refill=1)
    batches = iter([RolloutBatch((unjudged,), 0.0, 0.0), RolloutBatch((group(PROMPTS[1], True),), 0.0, 0.0)])
    groups, _ = sample_groups(lambda prompts, draw: next(batches), PromptStream(PROMPTS, 0, False), 0, rollout)
    assert [g.prompt.id for g in groups] == ["train/1"]


def _recipe(objective: str) -> dict:
    return {
        "name": "r",
        "model": {"id": "a/b"},
        "data": {"train": {"kind": "file", "path": "a"}, "eval": {"kind": "file", "path": "b"}},
        "verifiers": [{"name": "math"}],
        "stages": [{"name": "rl", "objective": objective, "steps": 1, "learning_rate": 1e-3}],
    }


def test_a_run_with_refill_resumes_exactly_and_draws_other_samples_for_a_prompt_drawn_twice(
    go, same_run, lines, tiny_recipe, tmp_path
):
    rollout = {**tiny_recipe()["rollout"], "refill": 3, "prompts_per_step": 3}
    recipe = tiny_recipe(rollout=rollout)
    go(recipe, tmp_path / "straight")
    for stop in (1, 3):
        go(recipe, tmp_path / f"parts{stop}", stop_after=stop)
        go(recipe, tmp_path / f"parts{stop}", existing="resume")
        same_run(tmp_path / "straight", tmp_path / f"parts{stop}")
    metrics = lines(tmp_path / "straight" / "metrics.jsonl")
    assert sum(step["refill/groups"] for step in metrics) > 0, "nothing was refilled: the test shows nothing"
    without = tiny_recipe(rollout={**rollout, "refill": 0})
    go(without, tmp_path / "without")
    first = lines(tmp_path / "without" / "metrics.jsonl")[0]
    assert metrics[0]["tokens/generated"] >= first["tokens/generated"]


def test_no_signal_at_all_loses_nothing(go, tiny_recipe, tmp_path):
    never = [{"name": "regex", "settings": {"must_match": ["never this"]}}]
    recipe = tiny_recipe(verifiers=never, rollout={**tiny_recipe()["rollout"], "refill": 2})
    summary, callback = go(recipe, tmp_path / "out")
    assert summary.exit_reason == "completed"
    assert sum("rollout.refill" in note for note in callback.notes) == 2  # once in each stage
    assert [r.metrics["refill/groups"] for r in callback.records] == [4] * 4
    assert all(len(r.groups) == 2 for r in callback.records)
