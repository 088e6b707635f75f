"""Whether a run fits its device: its plan, what would make it fit, and the refusal before weights are loaded."""

from __future__ import annotations

import sys
import time

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.host_memory import free_host_memory
from prerlkit.plan.advice import Advice, advise
from prerlkit.plan.config import find_config
from prerlkit.plan.device import Device, at_hand, dtype_note
from prerlkit.plan.plan import Plan, make_plan
from prerlkit.plan.trace_cache import TraceCache
from prerlkit.plan.traces import UNTRACEABLE, Traces
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.leftovers import leftover_note

_PLENTY = 0.5
"""Share of the free memory up to which a run on the CPU is not traced: the formula is larger rather than smaller."""


def plan_and_advice(recipe: Recipe, where: str, device: Device) -> tuple[Plan, list[Advice]]:
    """Return the plan of `recipe` on `device`, and the settings that save memory where it doesn't fit.

    Args:
        where: the folder of the model's config.json, as `find_config` gives it.
    """
    traces = Traces(where, device.kind, cache=TraceCache(where, device.kind))
    plan = make_plan(recipe, where, device, traces)
    return plan, [] if plan.fits else advise(recipe, plan, traces)


def refuse_what_cannot_fit(recipe: Recipe) -> str:
    """Stop a run that the device at hand can't hold, before weights are loaded.

    Returns:
        A line for the person who waits for it.

    Raises:
        PrerlkitError: with the settings that would make it fit.
    """
    try:
        where = find_config(recipe.model, network=True)
    except UsageError:
        return "no plan: the model's shapes were not found"  # a model that can't be found is refused where it is loaded
    begun = time.perf_counter()
    device = at_hand(recipe.model.device)
    if device.kind == "cpu" and (most := _at_most(recipe, where, device)) <= _PLENTY * device.memory:
        return f"no plan needed: at most {gib(most)} by formula, of {gib(device.memory)} free"
    plan, advice = plan_and_advice(recipe, where, device)
    tightest = phase_name(plan.tightest.name, plan.tightest.stage)
    note = f"; {text}" if (text := dtype_note(recipe.model.dtype, device)) else ""
    if plan.untraced and plan.device.needed(plan.sizes.weight_bytes) <= device.memory:
        return (
            f"planned by formula, as this model can't be traced ({plan.untraced}): about {gib(plan.needed)} of "
            f"{gib(device.memory)} free{note}"
        )
    if plan.fits:
        _refuse_without_host_memory(recipe, plan)
        return (
            f"planned in {time.perf_counter() - begun:.0f} s: at most {gib(plan.needed)}, in "
            f"{tightest}, of {gib(device.memory)} free{note}"
        )
    ways = [f"--set {' --set '.join(a.settings)} ({a.cost}): {gib(a.needed)}" for a in advice if a.fits]
    raise PrerlkitError(
        f"{recipe.name} needs {gib(plan.needed)} in {tightest}, and "
        f"{device.name} has {gib(device.memory)} free. Nothing was loaded.",
        leftover_note()
        + ("What would make it fit:\n  " + "\n  ".join(ways) + "\n" if ways else "No single setting makes it fit. ")
        + f"`prerlkit plan {recipe.name}` shows every phase; --force (in Python force=True) tries anyway.",
    )


def _at_most(recipe: Recipe, where: str, device: Device) -> int:
    """Return the bytes of a plan by formula, which takes a fraction of a trace's time; more than fit where it fails."""
    try:
        plan = make_plan(recipe, where, device, Traces(where, device.kind, formula=True))
    except UNTRACEABLE:
        return sys.maxsize
    return sys.maxsize if plan.engine.problem else plan.needed


def _refuse_without_host_memory(recipe: Recipe, plan: Plan) -> None:
    """Raise PrerlkitError where the host's memory can't take an engine next to the trainer."""
    free = free_host_memory()
    if not plan.engine.total or plan.host_needed <= free:
        return
    raise PrerlkitError(
        f"{recipe.name} needs {gib(plan.host_needed)} of the host's memory, {gib(plan.engine.host)} of them pinned "
        f"while vLLM sleeps, and {gib(free)} are free. Nothing was loaded.",
        "Pinned memory can't be swapped out. Close other programs, or let the card's memory hold the weights of one "
        "model only: --set rollout.engine=hf. --force (in Python force=True) tries anyway.",
    )


def phase_name(name: str, stage: str) -> str:
    return f'"{name}" of stage {stage}' if stage else f'"{name}"'


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
