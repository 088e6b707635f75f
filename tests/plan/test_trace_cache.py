"""Traces on disk: what a trace depends on misses, everything else hits, and a damaged file is no error."""

from __future__ import annotations

import pytest

from prerlkit.plan import traces as traces_module
from prerlkit.plan.device import Device
from prerlkit.plan.fit import plan_and_advice, refuse_what_cannot_fit
from prerlkit.recipe.schema import Recipe

GIB = 2**30
CPU = Device("x", "cpu", 8 * GIB, GIB)


@pytest.fixture
def recipe(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))

    def make(**changes) -> Recipe:
        return Recipe.model_validate({**tiny_recipe(), **changes})

    return make


@pytest.fixture
def traced(monkeypatch):
    """The parts that were really traced."""
    done, real = [], traces_module.trace

    def trace(recipe, config, device_type, parts):
        done.append(parts)
        return real(recipe, config, device_type, parts)

    monkeypatch.setattr(traces_module, "trace", trace)
    return done


def test_a_second_plan_is_the_same_and_traces_nothing(recipe, traced):
    first, _ = plan_and_advice(recipe(), recipe().model.id, CPU)
    assert traced
    traced.clear()
    again, _ = plan_and_advice(recipe(seed=7, name="another"), recipe().model.id, CPU)
    assert not traced
    assert [(p.name, p.stage, p.by_kind) for p in again.phases] == [(p.name, p.stage, p.by_kind) for p in first.phases]
    assert again.needed == first.needed
    assert again.sizes.decode_operations == first.sizes.decode_operations
    assert again.sizes.config.vocab_size == first.sizes.config.vocab_size


@pytest.mark.parametrize(
    "change", [{"memory": {"microbatch_tokens": 999}}, {"evaluation": {"prompts": 3, "samples": 5, "pass_at": [1]}}]
)
def test_what_a_trace_depends_on_is_traced_again(recipe, traced, change):
    plan_and_advice(recipe(), recipe().model.id, CPU)
    traced.clear()
    plan_and_advice(recipe(**change), recipe().model.id, CPU)
    assert traced


def test_another_kind_of_device_and_other_code_are_traced_again(recipe, traced, monkeypatch):
    plan_and_advice(recipe(), recipe().model.id, CPU)
    traced.clear()
    plan_and_advice(recipe(), recipe().model.id, Device("card", "cuda", 8 * GIB, GIB))
    assert len(traced) == 2
    traced.clear()
    monkeypatch.setattr("prerlkit.plan.trace_cache._software", lambda: ("another",))
    plan_and_advice(recipe(), recipe().model.id, CPU)
    assert len(traced) == 2


@pytest.mark.parametrize("text", ["", "{}", '{"sizes": 3, "traced": []}', "[1", '{"sizes": {}, "traced": null}'])
def test_a_damaged_file_counts_as_missing(recipe, traced, tmp_path, text):
    plan_and_advice(recipe(), recipe().model.id, CPU)
    kept = list((tmp_path / "cache" / "plans").glob("*.json"))
    assert len(kept) == 2
    for path in kept:
        path.write_text(text)
    traced.clear()
    plan_and_advice(recipe(), recipe().model.id, CPU)
    assert len(traced) == 2


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(recipe, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    made, _ = plan_and_advice(recipe(), recipe().model.id, CPU)
    assert made.fits


def test_a_small_model_on_a_cpu_with_plenty_of_memory_is_not_traced(recipe, traced, monkeypatch):
    monkeypatch.setattr("prerlkit.plan.device.free_host_memory", lambda: 64 * GIB)
    assert refuse_what_cannot_fit(recipe()).startswith("no plan needed: at most ")
    assert not traced
    monkeypatch.setattr("prerlkit.plan.device.free_host_memory", lambda: 3 * GIB // 2)
    assert refuse_what_cannot_fit(recipe()).startswith("planned in ")
    assert traced


def test_the_formula_is_larger_than_the_trace(recipe):
    """What lets a run go untraced must not be smaller than what it stands for."""
    from prerlkit.plan.plan import make_plan
    from prerlkit.plan.traces import Traces

    changes = ({}, {"memory": {"microbatch_tokens": 64}}, {"rollout": {"group_size": 16, "max_new_tokens": 64}})
    for change in changes:
        made = recipe(**change)
        where = made.model.id
        formula = make_plan(made, where, CPU, Traces(where, "cpu", formula=True))
        assert formula.needed >= make_plan(made, where, CPU, Traces(where, "cpu")).needed, change
