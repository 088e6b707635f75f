"""A model whose own code needs values can't be traced on shapes: it is planned by formula, and its run goes its way."""

from __future__ import annotations

import pytest
from transformers.models.llama.modeling_llama import LlamaMLP

from prerlkit.plan import fit
from prerlkit.plan.device import Device
from prerlkit.plan.plan import make_plan
from prerlkit.plan.traces import Traces
from prerlkit.recipe.schema import Recipe
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run

GIB = 2**30
CPU = Device("x", "cpu", 8 * GIB, GIB)


@pytest.fixture
def untraceable(monkeypatch, tmp_path):
    """Let Llama's MLP look at a value, as routers of some models do."""
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    forward = LlamaMLP.forward

    def looks(self, x):
        return forward(self, x) if x.detach().numpy().size else x

    monkeypatch.setattr(LlamaMLP, "forward", looks)


def test_its_plan_has_every_phase_and_says_that_it_is_a_formula(untraceable, tiny_recipe, monkeypatch):
    recipe = Recipe.model_validate(tiny_recipe())
    planned = make_plan(recipe, recipe.model.id, CPU)
    assert planned.untraced
    assert not any(phase.traced for phase in planned.phases)
    monkeypatch.undo()
    traced = make_plan(recipe, recipe.model.id, CPU, Traces(recipe.model.id, "cpu"))
    assert not traced.untraced
    assert {phase.name for phase in planned.phases} >= {phase.name for phase in traced.phases} - {"merge"}
    assert planned.needed >= traced.needed


def test_its_run_is_not_stopped_by_the_plan(untraceable, tiny_recipe, monkeypatch, tmp_path):
    recipe = Recipe.model_validate(tiny_recipe())
    monkeypatch.setattr(fit, "_PLENTY", 0.0)  # else a model as small as this one is not planned
    assert "planned by formula, as this model can't be traced" in fit.refuse_what_cannot_fit(recipe)
    summary = run(recipe, tmp_path / "run", recipe_folder=None, callback=SilentCallback(), stop=StopSignal())
    assert summary.exit_reason == "completed"


def test_a_formula_refuses_no_run_whose_weights_fit(untraceable, tiny_recipe, monkeypatch):
    """It is larger than what is needed, so only weights that don't fit stop a run."""
    recipe = Recipe.model_validate(tiny_recipe())
    monkeypatch.setattr(fit, "_PLENTY", 0.0)
    monkeypatch.setattr(fit, "at_hand", lambda device: Device("x", "cpu", 12 << 20, 0))
    assert make_plan(recipe, recipe.model.id, fit.at_hand("cpu")).needed > 12 << 20
    assert "planned by formula" in fit.refuse_what_cannot_fit(recipe)
