"""How a plan and its advice look: what each phase holds, whether it fits, and what would make it fit."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from prerlkit.plan.advice import Advice
from prerlkit.plan.device import dtype_note
from prerlkit.plan.fit import gib, phase_name
from prerlkit.plan.hours import guess_hours, shares_contexts, tokens_of
from prerlkit.plan.plan import Plan
from prerlkit.plan.probe import STEPS, TwoSteps
from prerlkit.recipe.schema import Recipe

_GIB = 2**30
_BAR = 28


def print_plan(console: Console, recipe: Recipe, made: Plan, advice: Sequence[Advice]) -> None:
    """Print the phases of a plan, and the advice where it doesn't fit."""
    _print_phases(console, recipe, made)
    if not made.fits:
        _print_advice(console, advice)


def _print_phases(console: Console, recipe: Recipe, made: Plan) -> None:
    device, tightest = made.device, made.tightest
    table = Table("phase", "stage", "GiB", "of the device", "where its bytes are", title_justify="left")
    table.title = f"{recipe.name} on {device.name}, {gib(device.memory)}: the most that each phase holds"
    for phase in made.phases:
        used = made.needed_in(phase) / device.memory
        bar = "█" * min(_BAR, round(used * _BAR)) + "·" * max(0, _BAR - round(used * _BAR))
        kinds = sorted(((size, kind) for kind, size in phase.by_kind.items()), reverse=True)
        where = ", ".join(f"{kind} {size / _GIB:.2f}" for size, kind in kinds if size >= 0.005 * _GIB)
        name = phase.name if phase.traced else f"{phase.name} (by sizes)"
        style = "red" if used > 1 else "bold" if phase is tightest else ""
        table.add_row(name, phase.stage, f"{phase.total / _GIB:.2f}", f"{bar} {100 * used:.0f} %", where, style=style)
    console.print(table)
    if made.untraced:
        console.print(f"all by formula: this model can't be traced ({made.untraced})", soft_wrap=True)
    room = device.memory - made.needed
    verdict = f"[green]fits[/green] with {gib(room)} to spare"
    if not made.fits:
        verdict = f"[red]does not fit[/red]: {made.engine.problem or gib(-room) + ' short'}"
    console.print(
        f"tightest: {phase_name(tightest.name, tightest.stage)}. With what the allocator loses (8 %, a margin) and the "
        f"process itself ({gib(device.overhead)}) it needs {gib(made.needed)} of {gib(device.memory)}: {verdict}",
        soft_wrap=True,
    )
    if note := dtype_note(recipe.model.dtype, device):
        console.print(f"[yellow]dtype[/yellow]: {note}", soft_wrap=True)
    if made.host_needed:
        console.print(f"host memory: {gib(made.host_needed)} for all processes (an estimate)", soft_wrap=True)
    if made.engine.at_once:
        _print_engine(console, recipe, made)
    shared = shares_contexts(recipe, made)
    for stage in recipe.stages:
        tokens = tokens_of(stage, share_contexts=shared)
        console.print(
            f"{stage.name}: {stage.steps} steps; a step generates at most {tokens.generated:,} tokens and trains on at "
            f"most {tokens.trained:,}",
            soft_wrap=True,
        )
    if hours := guess_hours(recipe, made):
        console.print(
            f"at most about {hours:.1f} hours without evaluations{' and probes' if recipe.probes else ''}: a guess "
            "from data sheets, every completion at its limit; --probe on that card measures",
            soft_wrap=True,
        )


def _print_engine(console: Console, recipe: Recipe, made: Plan) -> None:
    """What vLLM is given on the trainer's device, and what that costs elsewhere."""
    engine, wanted = made.engine, recipe.rollout.max_sequences
    share = f", {100 * engine.total / made.device.memory:.0f} % of the device" if made.device.kind == "cuda" else ""
    waiting = " (the others wait)" if engine.at_once < wanted else ""
    console.print(
        f"vLLM: {gib(engine.total)}{share}; its cache holds {int(engine.at_once)} of {wanted} sequences at full "
        f"length{waiting}",
        soft_wrap=True,
    )
    places = []
    if engine.unpacked:
        places.append(f"{gib(engine.unpacked)} of disk for the 16-bit copy of its 4-bit weights")
    if engine.host:
        places.append(f"{gib(engine.host)} of the host's memory, pinned while it sleeps")
    if places:
        console.print(f"      and {', '.join(places)}", soft_wrap=True)


def _print_advice(console: Console, advice: Sequence[Advice]) -> None:
    if not advice:
        console.print("No setting helps enough: a smaller model, or a larger card.")
    for one in advice:
        fit = "[green]fits[/green]" if one.fits else "not enough alone"
        console.print(
            f"  --set {' --set '.join(one.settings)}   {gib(one.needed)}, {fit}   ({one.cost})", soft_wrap=True
        )


def print_probe(console: Console, recipe: Recipe, found: TwoSteps) -> None:
    """Print the time of a step of each stage, and the hours that follow from it."""
    for name, seconds in found.step_seconds.items():
        console.print(f"{name}: {seconds:.1f} s a step (the last of {STEPS})")
    probes = ", and probes," if recipe.probes else ""
    long = f"{found.hours:.2g} hours" if found.hours >= 1 else f"{60 * found.hours:.2g} minutes"
    console.print(
        f"about {long} for all steps and evaluations{probes} on this machine; peak memory {gib(found.peak_memory)}",
        soft_wrap=True,
    )
