"""What recipes' headers and the table of docs/memory.md say of memory and hours: text made from plans.

A test compares both with the plans.
"""

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
TABLE = re.compile(r"(<!-- plans -->\n).*?(<!-- end -->)", re.DOTALL)
"""The table's place on the page; group 1 and 2 stay."""
TABLE_HEAD = (
    "| recipe | model | card | engine | device memory | of it vLLM's | host memory (pinned) | disk | hours at most |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def header_lines(recipe: Recipe, plan: Plan) -> str:
    """Return the header's lines `Needs` and `Hours`, each wrapped, with their line breaks."""
    card = round(plan.device.memory / _GIB)
    needs = [
        f"one CUDA card with {card} GB: the plan says {_gib(plan.needed)} GiB in the tightest phase "
        f"({plan.tightest.name})"
    ]
    if plan.engine.total:
        needs.append(f"vLLM has {_gib(plan.engine.total)} GiB of them")
    if plan.engine.at_once:
        wanted = recipe.rollout.max_sequences
        needs.append(f"the cache holds {min(int(plan.engine.at_once), wanted)} of {wanted} answers at their limit")
    needs.append(f"{_gib(plan.host_needed)} GiB of the host's memory")
    if plan.engine.host:
        needs[-1] += f", {_gib(plan.engine.host)} of them pinned"
    if plan.engine.unpacked:
        needs.append(f"{_gib(plan.engine.unpacked)} GiB of disk for vLLM's copy of the weights")
    hours = guess_hours(recipe, plan)
    most = f"at most about {rounded(hours or 0)} on an {plan.device.name} by data sheet"
    return _wrapped("Needs", "; ".join(needs)) + _wrapped("Hours", f"{most}: an estimate, every answer at its limit")


def table_row(name: str, recipe: Recipe, plan: Plan) -> str:
    """Return the row of the table: sizes in GiB, with its line break."""
    model = recipe.model.id.rpartition("/")[2] + {"none": "", "nf4": ", NF4"}.get(recipe.model.quantization, ", int8")
    engine, vllm = recipe.rollout.engine, plan.engine
    if recipe.rollout.vllm.quantization != "none":
        engine += f", {recipe.rollout.vllm.quantization}"
    cells = (
        f"`{name}`",
        model,
        plan.device.name,
        engine,
        f"{_gib(plan.needed)} of {_gib(plan.device.memory)}, {plan.tightest.name}",
        _gib(vllm.total) if vllm.total else "",
        _gib(plan.host_needed) + (f" ({_gib(vllm.host)})" if vllm.host else ""),
        _gib(vllm.unpacked) if vllm.unpacked else "",
        rounded(guess_hours(recipe, plan) or 0),
    )
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |")


def rounded(hours: float) -> str:
    """Return hours to two digits: 0.93, 38, 160."""
    return f"{float(f'{hours:.2g}'):g}"


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f}"


def _wrapped(label: str, text: str) -> str:
    first = f"# {label}    "
    return textwrap.fill(text, 118, initial_indent=first, subsequent_indent=_LABEL, break_on_hyphens=False) + "\n"
