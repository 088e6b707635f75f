"""`prerlkit run`: a recipe from beginning to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import (
    Gpu,
    NoColor,
    Overrides,
    Quiet,
    RecipeName,
    Trust,
    Verbose,
    Vram,
    say_unchecked,
    settled,
)
from prerlkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from prerlkit.cli.render.display import Display
    from prerlkit.launch import Launch
    from prerlkit.plan.device import Device
    from prerlkit.recipe.load import LoadedRecipe
    from prerlkit.recipe.schema import Recipe
    from prerlkit.runs.files import Existing
    from prerlkit.train.distributed import World


@guarded
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; the recipe names one.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve and check everything, print the plan, load no weights.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the run folder's last checkpoint, if it has one.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in the folder.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option("--start-from", metavar="RUN[:STAGE]", help="Take the first stage from this run; don't train it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Try even if the plan says that it can't fit.")] = False,
    vram: Vram = None,
    gpu: Gpu = None,
    trust: Trust = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Run a recipe: its stages in order, evaluated before, between and after.

    [bold]prerlkit run reach_dsrl[/bold]
      a tiny model, two minutes, nothing to download
    [bold]prerlkit run quickstart_dsrl[/bold]
      a small language model learns sums on a CPU
    [bold]prerlkit run math_dsrl --dry-run --gpu rtx4090[/bold]
      what would happen on a card that is not here
    [bold]prerlkit run my.yaml --set seed=1 -o runs/one[/bold]
      another seed, another folder
    [bold]prerlkit run my.yaml --start-from runs/warm[/bold]
      the warm-up of another run, then the rest
    [bold]torchrun --nproc-per-node 2 -m prerlkit run my.yaml[/bold]
      on two GPUs, see docs/scaling.md

    Ctrl-C (or SIGTERM) stops after the current step and saves; twice stops at once. The same command with --resume
    continues, also after a crash: scripts may always give it.
    """
    from prerlkit.cli.render.console import wide_console
    from prerlkit.launch import Launch, output_folder, processes
    from prerlkit.recipe.load import load

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other.", "Choose one.")
    if (vram or gpu) and not dry_run:
        raise UsageError("--vram and --gpu are of --dry-run: a run takes the device at hand.", "Add --dry-run.")
    existing: Existing = "resume" if resume else "overwrite" if overwrite else "refuse"
    with processes() as world:
        muted = world is not None and not world.primary
        console = wide_console(no_color=no_color, quiet=muted)
        loaded = load(recipe, overrides or [])
        if start_from is not None:
            taken = f"stages.{loaded.recipe.stages[0].name}.from={json.dumps(start_from)}"
            loaded = load(recipe, [*(overrides or []), taken])
        folder = output or output_folder(loaded.recipe)
        if dry_run:
            _dry_run(console, settled(loaded), folder, trust, lambda: _device(loaded.recipe, vram, gpu))
            return
        from prerlkit.cli.render.display import Display

        launch = Launch(loaded.recipe, loaded.folder, folder, existing, force, verbose, trust)
        execute(launch, Display(console, quiet=quiet or muted, recipe=loaded.recipe), world)


def _dry_run(console: Console, loaded: LoadedRecipe, folder: Path, trust: bool, device: Callable[[], Device]) -> None:
    """Check all that needs no weights, and print it with the plan for `device`."""
    from prerlkit.cli.render.dry_run import print_dry_run
    from prerlkit.quiet import quiet_libraries
    from prerlkit.train.validate import check_settings, check_trackers, warnings
    from prerlkit.trust import left_out

    quiet_libraries()
    unchecked = left_out(loaded.recipe, loaded.folder, trust)
    check_settings(loaded.recipe, loaded.folder, unchecked)
    say_unchecked(unchecked)
    check_trackers(loaded.recipe)
    print_dry_run(console, loaded, folder, device, unchecked)
    for line in warnings(loaded.recipe):
        console.print(line, markup=False, soft_wrap=True)


def _device(recipe: Recipe, vram: str | None, gpu: str | None) -> Device:
    from prerlkit.plan.device import choose

    return choose(recipe.model.device, vram, gpu)


def execute(launch: Launch, display: Display, world: World | None = None) -> None:
    """Run with the display as the callback, and print what comes after it."""
    from prerlkit.launch import run_recipe
    from prerlkit.runs.files import resume_command

    with display:
        display.summary = run_recipe(launch, display, world)
    display.finish(launch.output, command=resume_command(launch.output))
