"""`prerlkit run`: a recipe from beginning to end."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import NoColor, Overrides, Quiet, RecipeName, Verbose
from prerlkit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from prerlkit.cli.display import Display
    from prerlkit.recipe.schema import Recipe
    from prerlkit.runs.files import Existing
    from prerlkit.train.callbacks import StopSignal
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
        bool, typer.Option("--resume", help="Go on from the run folder's last checkpoint, if it has one.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in the folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Try even if the plan says that it can't fit.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Run a recipe: its stages in order, evaluated before, between and after.

    [bold]prerlkit run quickstart_dsrl[/bold]                         a small model learns sums on a CPU
    [bold]prerlkit run recipes/math_dsrl.yaml --dry-run[/bold]        what would happen on the 24 GB card
    [bold]prerlkit run my.yaml --set seed=1 -o runs/one[/bold]        another seed, another folder
    [bold]torchrun --nproc-per-node 2 -m prerlkit run my.yaml[/bold]  on two GPUs, see docs/scaling.md

    Ctrl-C (or SIGTERM) stops after the current step and saves; twice stops at once. The same command with --resume goes
    on, also after a crash: scripts may always give it.
    """
    from prerlkit.recipe.load import load

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other.", "Choose one.")
    existing: Existing = "resume" if resume else "overwrite" if overwrite else "refuse"
    with _processes() as world:
        muted = world is not None and not world.primary
        console = _console(no_color, muted)
        loaded = load(recipe, overrides or [])
        folder = output or Path(loaded.recipe.output.folder.format(name=loaded.recipe.name, seed=loaded.recipe.seed))
        if dry_run:
            from prerlkit.cli.dry_run import print_plan

            print_plan(console, loaded, folder)
            return
        from prerlkit.cli.display import Display

        with Display(console, quiet=quiet or muted) as display:
            execute(loaded.recipe, loaded.folder, folder, existing, display, verbose, world, force)
        display.finish(folder, command=f"prerlkit resume {shlex.quote(str(folder))}")


@contextmanager
def _processes() -> Iterator[World | None]:
    """This process's place among those that a launcher started; None, without torch's import, when it is alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield None
        return
    from prerlkit.train.connect import connect

    with connect() as world:
        yield world


def _console(no_color: bool, muted: bool) -> Console:
    from rich.console import Console

    console = Console(no_color=no_color or None, highlight=False, soft_wrap=False, quiet=muted)
    if not console.is_terminal:
        console = Console(no_color=no_color or None, highlight=False, width=160, quiet=muted)
    return console


def execute(
    recipe: Recipe,
    recipe_folder: Path | None,
    folder: Path,
    existing: Existing,
    display: Display,
    verbose: bool,
    world: World | None = None,
    force: bool = False,
) -> None:
    """Run `recipe` with the display as its watcher; Ctrl-C and SIGTERM ask it to stop."""
    display.on_message(f"recipe {recipe.name}, seed {recipe.seed} → {folder}")
    display.on_message("loading libraries")
    from prerlkit.cli.quiet import quiet_libraries

    if not verbose:
        quiet_libraries()
    from prerlkit.cli.plan import refuse_what_cannot_fit
    from prerlkit.trackers.watching import tracked
    from prerlkit.train.callbacks import StopSignal
    from prerlkit.train.distributed import ALONE
    from prerlkit.train.run import run as run_recipe

    if world:
        display.on_message(f"{world.size} processes share each step; this is the first, process id {os.getpid()}")
    if not force and (world is None or not recipe.memory.shard_base):  # a plan is for one device that holds it all
        display.on_message(refuse_what_cannot_fit(recipe))
    stop = StopSignal()
    primary = world is None or world.primary
    with _signals(stop, display), tracked(recipe, folder, display) if primary else nullcontext(display) as callback:
        display.summary = run_recipe(
            recipe,
            folder,
            recipe_folder=recipe_folder,
            callback=callback,
            stop=stop,
            existing=existing,
            report=display.on_message,
            world=world or ALONE,
        )


@contextmanager
def _signals(stop: StopSignal, display: Display) -> Iterator[None]:
    """Ctrl-C or SIGTERM asks for a stop after the step; a second one interrupts."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.request()
        display.on_message("stopping after this step; once more stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
