"""The plan as a gate: a run that can't fit is refused with the settings that would make it fit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prerlkit.errors import PrerlkitError, UsageError

if TYPE_CHECKING:
    from prerlkit.recipe.schema import Recipe

GIB = 2**30


def refuse_what_cannot_fit(recipe: Recipe) -> str:
    """Refuse a run that the device at hand can't hold, before weights are loaded.

    Returns:
        A line for the person who waits for it.

    Raises:
        PrerlkitError: with the settings that would make it fit.
    """
    from prerlkit.plan.advice import advise
    from prerlkit.plan.config import find_config
    from prerlkit.plan.device import at_hand
    from prerlkit.plan.plan import make_plan
    from prerlkit.plan.traces import Traces

    try:
        where = find_config(recipe.model, network=True)
    except UsageError:
        return "no plan: the model's shapes were not found"  # a model that can't be found is told where it is loaded
    begun = time.perf_counter()
    device = at_hand(recipe.model.device)
    traces = Traces(where, device.kind)
    made = make_plan(recipe, where, device, traces)
    if made.fits:
        return (
            f"planned in {time.perf_counter() - begun:.0f} s: at most {gib(made.needed)}, in "
            f"{phase_name(made.tightest.name, made.tightest.stage)}, of {gib(device.memory)} free"
        )
    advice = advise(recipe, made, traces)
    ways = [f"--set {' --set '.join(a.settings)} ({a.cost}): {gib(a.needed)}" for a in advice if a.fits]
    raise PrerlkitError(
        f"{recipe.name} needs {gib(made.needed)} in {phase_name(made.tightest.name, made.tightest.stage)}, and "
        f"{device.name} has {gib(device.memory)} free. Nothing was loaded.",
        ("What would make it fit:\n  " + "\n  ".join(ways) + "\n" if ways else "No single setting makes it fit. ")
        + f"`prerlkit plan {recipe.name}` shows every phase; --force (in Python force=True) tries anyway.",
    )


def phase_name(name: str, stage: str) -> str:
    return f'"{name}" of stage {stage}' if stage else f'"{name}"'


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
