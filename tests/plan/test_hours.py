"""Hours from data sheets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prerlkit.engines.engine import CACHE, WEIGHTS
from prerlkit.plan.device import GIB, Device
from prerlkit.plan.hours import guess_hours
from prerlkit.plan.plan import make_plan
from prerlkit.recipe.schema import Recipe


def test_a_token_reads_the_weights_that_the_engine_holds(tiny_recipe):
    """By hand: a token of each wave reads the copy once, at 35 % of the data sheet's rate."""
    data = tiny_recipe(evaluation={"when": [], "prompts": 4})
    data["rollout"] |= {"engine": "vllm"}
    made = Recipe.model_validate(data)
    plan = make_plan(made, made.model.id, Device("a card", "cuda", 24 * GIB, GIB, bandwidth=1e9, flops=1e12))

    def hours(weights: int) -> float:
        return guess_hours(made, replace(plan, engine=replace(plan.engine, rollout={WEIGHTS: weights, CACHE: 0})))

    tokens = sum(stage.steps for stage in made.stages) * made.rollout.max_new_tokens  # a step is one wave
    assert hours(2 * GIB) - hours(GIB) == pytest.approx(tokens * GIB / 0.35e9 / 3600)
    assert plan.engine.rollout[WEIGHTS] > plan.sizes.dense_bytes  # with the adapter's slot
