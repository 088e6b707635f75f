"""What a stage did, from recorded lines alone, and how it is written."""

from __future__ import annotations

import pytest

from prerlkit.evaluation.effect_words import effect_cells, effect_line
from prerlkit.evaluation.stage_effect import BeforeAfter, StageEffect, stage_effects


def evaluation(name: str, step: int, *, kl=None, average=0.064, pass16=0.594, wait=0.047, tokens=14.0) -> dict:
    """A line of evaluations.jsonl with samples."""
    return {
        "name": name,
        "step": step,
        "accuracy": None,
        "average": {"value": average, "low": 0.0, "high": 1.0},
        "pass_at": {
            "1": {"value": average, "low": 0.0, "high": 1.0},
            "4": {"value": 0.3, "low": 0.0, "high": 1.0},
            "16": {"value": pass16, "low": 0.0, "high": 1.0},
        },
        "samples": 16,
        "tokens_mean": 99.0,
        "sample_tokens_mean": tokens,
        "thoughts": {"reflection": wait, "transition": 0.0},
        "kl": kl,
    }


def greedy(name: str, step: int, value: float, tokens: float) -> dict:
    """A line of evaluations.jsonl as an earlier version wrote it."""
    accuracy = {"value": value, "low": 0.0, "high": 1.0}
    return {
        "name": name,
        "step": step,
        "accuracy": accuracy,
        "average": None,
        "pass_at": {},
        "tokens_mean": tokens,
    }


STEPS = [("warmup", {}), ("warmup", {"stage/kl": 0.07}), ("rl", {}), ("rl", {}), ("rl", {"stage/kl": 0.02})]
EVALUATIONS = [
    evaluation("before", 0),
    evaluation("after warmup", 2, kl=0.0742, average=0.056, pass16=0.53, wait=0.235, tokens=22.25),
    evaluation("step 4", 4, kl=0.01),
    evaluation("after rl", 5, kl=0.03, average=0.25),
]


def test_each_stage_is_between_the_evaluations_at_its_two_ends():
    warmup, rl = stage_effects(STEPS, EVALUATIONS)
    assert (warmup.stage, warmup.steps, warmup.kl, warmup.kl_from) == ("warmup", 2, 0.0742, "held-out samples")
    assert warmup.change("eval/thoughts/reflection") == BeforeAfter(0.047, 0.235)
    assert warmup.change("eval/thoughts/reflection").ratio == pytest.approx(5.0)
    assert warmup.change("eval/pass@16").difference == pytest.approx(-0.064)
    assert rl.change("eval/average") == BeforeAfter(0.056, 0.25)
    assert (rl.steps, rl.kl) == (3, 0.03)
    assert "eval/kl" not in rl.changes


def test_the_line_says_kl_thoughts_pass_rates_and_length():
    (warmup, _) = stage_effects(STEPS, EVALUATIONS)
    assert effect_line(warmup) == (
        "stage warmup, 2 steps: KL 0.0742 nats/token  ·  reflection ×5 (0.047 → 0.23 per answer)  ·  transition 0 → 0"
        "  ·  avg@16 6.4 → 5.6 %  ·  pass@16 59.4 → 53.0 %  ·  tokens 14.0 → 22.2"
    )


def test_with_greedy_answers_alone_the_line_shows_what_there_is():
    steps = [("warmup", {"stage/kl": 0.0034})]
    (effect,) = stage_effects(steps, [greedy("before", 0, 0.1, 10.0), greedy("after warmup", 1, 0.2, 12.0)])
    assert (effect.kl, effect.kl_from) == (0.0034, "the last step's samples")
    assert effect_line(effect) == (
        "stage warmup, 1 step: KL 0.0034 nats/token  ·  greedy accuracy 10.0 → 20.0 %  ·  tokens 10.0 → 12.0"
    )


def test_without_evaluations_the_kl_remains():
    (effect,) = stage_effects([("rl", {}), ("rl", {"stage/kl": 0.5})], [])
    assert effect_cells(effect)["KL"] == "0.5 nats/token"
    assert effect.changes == {}
    assert effect_line(StageEffect("rl", 2)) == "stage rl, 2 steps: nothing was measured"


def test_a_stage_under_way_has_no_effect_yet():
    assert stage_effects(STEPS[:1], EVALUATIONS[:1]) == ()
    assert [one.stage for one in stage_effects(STEPS[:4], EVALUATIONS[:3])] == ["warmup"]
    assert stage_effects([], []) == ()


def test_a_finished_run_that_gets_more_steps_is_measured_at_its_new_end():
    steps = [("rl", {}), ("rl", {"stage/kl": 0.1}), ("rl", {}), ("rl", {"stage/kl": 0.3})]
    found = [evaluation("before", 0), evaluation("after rl", 2, kl=0.1), evaluation("after rl", 4, kl=0.4)]
    (effect,) = stage_effects(steps, found)
    assert (effect.steps, effect.kl) == (4, 0.4)
    assert stage_effects(steps[:3], found[:2]) == ()


def test_a_missing_evaluation_before_leaves_the_figures_after_it():
    (effect,) = stage_effects(STEPS[:2], EVALUATIONS[1:2])
    assert effect.change("eval/average") == BeforeAfter(None, 0.056)
    assert effect.change("eval/average").difference is None
    assert "avg@16 5.6 %" in effect_line(effect)
    assert effect.to_json()["changes"]["eval/average"] == {"before": None, "after": 0.056}
