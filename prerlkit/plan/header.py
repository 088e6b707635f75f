"""What a packaged recipe's header says of memory and hours: lines made from its plan, which a test compares."""

from __future__ import annotations

import re
import textwrap

from prerlkit.plan.hours import guess_hours
from prerlkit.plan.plan import Plan
from prerlkit.recipe.schema import Recipe

_GIB = 2**30
_LABEL = "#          "
BLOCK = re.compile(r"^# Needs .*\n(?:#  {8,}.*\n)*# Hours .*\n(?:#  {8,}.*\n)*", re.MULTILINE)
"""The lines in a recipe that are made here."""


def header_lines(recipe: Recipe, plan: Plan) -> str:
    """Return the header's lines `Needs` and `Hours`, each wrapped, with their line breaks."""
    card = round(plan.device.memory / _GIB)
    needs = [
        f"one CUDA card with {card} GB: the plan says {plan.needed / _GIB:.1f} GiB in the tightest phase "
        f"({plan.tightest.name})"
    ]
    if plan.engine.total:
        needs.append(f"vLLM has {plan.engine.total / _GIB:.1f} GiB of them")
    if plan.engine.at_once:
        wanted = recipe.rollout.max_sequences
        needs.append(f"the cache holds {min(int(plan.engine.at_once), wanted)} of {wanted} answers at their limit")
    needs.append(f"{plan.host_needed / _GIB:.1f} GiB of the host's memory")
    if plan.engine.host:
        needs[-1] += f", {plan.engine.host / _GIB:.1f} of them pinned"
    if plan.engine.unpacked:
        needs.append(f"{plan.engine.unpacked / _GIB:.1f} GiB of disk for vLLM's copy of the weights")
    hours = guess_hours(recipe, plan)
    most = f"at most about {hours or 0:.2g} on an {plan.device.name} by data sheet"
    return _wrapped("Needs", "; ".join(needs)) + _wrapped("Hours", f"{most}: an estimate, every answer at its limit")


def _wrapped(label: str, text: str) -> str:
    first = f"# {label}    "
    return textwrap.fill(text, 118, initial_indent=first, subsequent_indent=_LABEL, break_on_hyphens=False) + "\n"
