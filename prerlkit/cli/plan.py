"""`prerlkit plan`: memory and time of a recipe before anything is started, and what would make it fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Overrides, RecipeName, Verbose
from prerlkit.errors import UsageError
from prerlkit.plan.fit import GIB, gib, phase_name

if TYPE_CHECKING:
    from rich.console import Console

    from prerlkit.plan.advice import Advice
    from prerlkit.plan.device import Device
    from prerlkit.plan.plan import Plan
    from prerlkit.recipe.load import LoadedRecipe
    from prerlkit.recipe.schema import Recipe

_BAR = 28


@guarded
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    vram: Annotated[str | None, typer.Option("--vram", help="Plan for a CUDA card with so much memory: 24GiB.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Plan for a card by name: rtx4090, rtx3090, l4, …")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The model's config.json, where it is not on this machine.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Run two real steps of each stage here, and tell the hours.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Say how much memory each phase of a run takes, whether it fits, and what would make it fit.

    [bold]prerlkit plan math_dsrl --gpu rtx4090[/bold]                  for a card that is not here
    [bold]prerlkit plan my.yaml[/bold]                                  for the device at hand
    [bold]prerlkit plan my.yaml --set model.quantization=nf4 --vram 12GiB[/bold]

    Nothing is loaded and no network is used: the run's own training step is traced on shapes alone. Every prompt and
    completion is taken at its limit. Exit code 1 when it does not fit.
    """
    from prerlkit.cli.tables import wide_console
    from prerlkit.recipe.load import load

    if vram and gpu:
        raise UsageError("--vram and --gpu exclude each other.", "Choose one.")
    console = wide_console()
    loaded = load(recipe, overrides or [])
    if not verbose:
        from prerlkit.quiet import quiet_libraries

        quiet_libraries()
    fits = print_memory(console, loaded.recipe, _device(loaded.recipe, vram, gpu), config)
    if probe:
        _print_probe(console, loaded)
    if not fits:
        raise typer.Exit(1)


def print_memory(console: Console, recipe: Recipe, device: Device, config: Path | None = None) -> bool:
    """Print the plan of `recipe` for `device`, and advice where it doesn't fit; gives whether it fits."""
    from prerlkit.plan.advice import advise
    from prerlkit.plan.config import find_config
    from prerlkit.plan.plan import make_plan
    from prerlkit.plan.traces import Traces

    where = find_config(recipe.model, config)
    traces = Traces(where, device.kind)
    made = make_plan(recipe, where, device, traces)
    _print_phases(console, recipe, made)
    if not made.fits:
        _print_advice(console, advise(recipe, made, traces))
    return made.fits


def _device(recipe: Recipe, vram: str | None, gpu: str | None) -> Device:
    from prerlkit.plan.device import at_hand, card, of_size

    if gpu:
        return card(gpu)
    return of_size(vram) if vram else at_hand(recipe.model.device)


def _print_phases(console: Console, recipe: Recipe, made: Plan) -> None:
    from rich.table import Table

    from prerlkit.plan.hours import guess_hours, shares_contexts, tokens_of

    device, tightest = made.device, made.tightest
    table = Table("phase", "stage", "GiB", "of the device", "where its bytes are", title_justify="left")
    table.title = f"{recipe.name} on {device.name}, {gib(device.memory)}: the most that each phase holds"
    for phase in made.phases:
        used = made.needed_in(phase) / device.memory
        bar = "█" * min(_BAR, round(used * _BAR)) + "·" * max(0, _BAR - round(used * _BAR))
        kinds = sorted(((size, kind) for kind, size in phase.by_kind.items()), reverse=True)
        where = ", ".join(f"{kind} {size / GIB:.2f}" for size, kind in kinds if size >= 0.005 * GIB)
        name = phase.name if phase.traced else f"{phase.name} (by sizes)"
        style = "red" if used > 1 else "bold" if phase is tightest else ""
        table.add_row(name, phase.stage, f"{phase.total / GIB:.2f}", f"{bar} {100 * used:.0f} %", where, style=style)
    console.print(table)
    room = device.memory - made.needed
    verdict = f"[green]fits[/green] with {gib(room)} to spare"
    if not made.fits:
        verdict = f"[red]does not fit[/red]: {made.engine.problem or gib(-room) + ' short'}"
    console.print(
        f"tightest: {phase_name(tightest.name, tightest.stage)}. With what the allocator loses (8 %, a margin) and the "
        f"process itself ({gib(device.overhead)}) it needs {gib(made.needed)} of {gib(device.memory)}: {verdict}",
        soft_wrap=True,
    )
    if made.engine.at_once:
        _print_engine(console, recipe, made)
    shared = shares_contexts(recipe)
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
    engine, sizes, wanted = made.engine, made.sizes, recipe.rollout.max_sequences
    share = f", {100 * engine.total / made.device.memory:.0f} % of the device" if made.device.kind == "cuda" else ""
    waiting = " (the others wait)" if engine.at_once < wanted else ""
    console.print(
        f"vLLM: {gib(engine.total)}{share}; its cache holds {int(engine.at_once)} of {wanted} sequences at full "
        f"length{waiting}",
        soft_wrap=True,
    )
    places = []
    if recipe.model.quantization == "nf4" and recipe.rollout.vllm.base == "same":
        places.append(f"{gib(sizes.dense_bytes)} of disk for the 16-bit copy of its 4-bit weights")
    if engine.training != engine.rollout:
        places.append(f"{gib(sizes.dense_bytes)} of the host's memory while it sleeps")
    if places:
        console.print(f"      and {', '.join(places)}", soft_wrap=True)


def _print_advice(console: Console, advice: list[Advice]) -> None:
    if not advice:
        console.print("No setting helps enough: a smaller model, or a larger card.")
    for one in advice:
        fit = "[green]fits[/green]" if one.fits else "not enough alone"
        console.print(
            f"  --set {' --set '.join(one.settings)}   {gib(one.needed)}, {fit}   ({one.cost})", soft_wrap=True
        )


def _print_probe(console: Console, loaded: LoadedRecipe) -> None:
    from prerlkit.cli.display import Display
    from prerlkit.plan.probe import STEPS, probe

    with Display(console) as display:
        found = probe(loaded.recipe, loaded.folder, display)
    for name, seconds in found.step_seconds.items():
        console.print(f"{name}: {seconds:.1f} s a step (the last of {STEPS})")
    probes = ", and probes," if loaded.recipe.probes else ""
    long = f"{found.hours:.2g} hours" if found.hours >= 1 else f"{60 * found.hours:.2g} minutes"
    console.print(
        f"about {long} for all steps and evaluations{probes} on this machine; peak memory {gib(found.peak_memory)}",
        soft_wrap=True,
    )
