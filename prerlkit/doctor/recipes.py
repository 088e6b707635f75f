"""Which packaged recipes fit this machine, by a formula that is larger rather than smaller than what a run takes."""

from __future__ import annotations

from prerlkit.doctor.machine import GIB, DoctorFinding
from prerlkit.errors import UsageError
from prerlkit.plan.config import find_config
from prerlkit.plan.device import Device, at_hand
from prerlkit.plan.plan import make_plan
from prerlkit.plan.traces import UNTRACEABLE, Traces
from prerlkit.recipe.load import load, packaged
from prerlkit.recipe.schema import Recipe

_WIDTH = 18


def recipes(device: Device | None = None) -> DoctorFinding:
    """Return the recipes by whether they fit `device`; None: the device at hand. Nothing is asked of the Hub."""
    try:
        where = device or at_hand("auto")
    except UsageError as error:  # a card that can't be used
        return DoctorFinding((f"{'not known':<{_WIDTH}}{error.message}",))
    fitting, open_, large = [], [], []
    for name in packaged():
        found = _needs(load(name).recipe, where)
        if found is None:
            open_.append(name)
        elif found[0] <= where.memory:
            fitting.append(f"{name} ({found[0] / GIB:.1f})")
        elif found[1] <= where.memory:
            open_.append(f"{name} ({found[0] / GIB:.1f})")
        else:
            large.append(f"{name} ({found[1] / GIB:.1f})")
    lines = [f"{'free':<{_WIDTH}}{where.memory / GIB:.1f} GiB of {where.name}"]
    for label, what, names in (
        ("fit", "each needs at most about so many GiB", fitting),
        ("may fit", "at most so many GiB; `prerlkit plan RECIPE` is exact", open_),
        ("too large", "GiB of the weights alone", large),
    ):
        if names:
            lines += [f"{label:<{_WIDTH}}{what}:", *(f"{'':<{_WIDTH}}{line}" for line in _wrapped(names))]
    return DoctorFinding(tuple(lines))


def _needs(recipe: Recipe, device: Device) -> tuple[int, int] | None:
    """Return the most bytes that a run takes, and those of its weights; None where the model's shapes are not here."""
    try:
        config = find_config(recipe.model)
        plan = make_plan(recipe, config, device, Traces(config, device.kind, formula=True))
    except (UsageError, *UNTRACEABLE):
        return None
    return plan.needed, device.needed(plan.sizes.weight_bytes)


def _wrapped(names: list[str], width: int = 100) -> list[str]:
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) + 2 > width:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{name}"
    return lines
