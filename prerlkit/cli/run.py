"""`prerlkit run`: a recipe from beginning to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.app import app, guarded
from prerlkit.errors import UsageError

if TYPE_CHECKING:
    from prerlkit.cli.display import Display
    from prerlkit.recipe.schema import Recipe
    from prerlkit.train.folder import Existing
    from prerlkit.train.watch import Stop


@app.command()
@guarded
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's path, or the bare name of a packaged one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="PATH=VALUE", help="Override a key: --set stages.rl.steps=3. Repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; the recipe names one.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve and check everything, print the plan, load no weights.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is in the folder.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Libraries' warnings, and tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the table at the end, and errors.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR=1 does the same.")] = False,
) -> None:
    """Run a recipe: its stages in order, evaluated before, between and after.

    [bold]prerlkit run quickstart_dsrl[/bold]                         a small model learns sums on a CPU
    [bold]prerlkit run recipes/math_dsrl.yaml --dry-run[/bold]        what would happen on the 24 GB card
    [bold]prerlkit run my.yaml --set seed=1 -o runs/one[/bold]        another seed, another folder

    Ctrl-C stops after the current step and saves; twice stops at once.
    """
    from rich.console import Console

    from prerlkit.recipe.load import load

    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other.", "Choose one.")
    console = Console(no_color=no_color or None, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(no_color=no_color or None, highlight=False, width=160)
    loaded = load(recipe, overrides or [])
    folder = output or Path(loaded.recipe.output.folder.format(name=loaded.recipe.name, seed=loaded.recipe.seed))
    if dry_run:
        from prerlkit.cli.plan import print_plan

        print_plan(console, loaded, folder)
        return
    from prerlkit.cli.display import Display

    existing: Existing = "resume" if resume else "overwrite" if overwrite else "refuse"
    with Display(console, quiet=quiet) as display:
        _execute(loaded.recipe, loaded.folder, folder, existing, display, verbose)
    display.finish(folder, command=f"prerlkit run {recipe}" + "".join(f" --set {o}" for o in overrides or []))


def _execute(
    recipe: Recipe, recipe_folder: Path, folder: Path, existing: Existing, display: Display, verbose: bool
) -> None:
    display.note(f"recipe {recipe.name}, seed {recipe.seed} → {folder}")
    display.note("loading libraries")
    from prerlkit.cli.quiet import quiet_libraries

    if not verbose:
        quiet_libraries()
    from prerlkit.train.run import run as run_recipe
    from prerlkit.train.watch import Stop

    stop = Stop()
    with _signals(stop, display):
        display.summary = run_recipe(
            recipe,
            folder,
            recipe_folder=recipe_folder,
            watcher=display,
            stop=stop,
            existing=existing,
            report=display.note,
        )


@contextmanager
def _signals(stop: Stop, display: Display) -> Iterator[None]:
    """Ctrl-C or SIGTERM asks for a stop after the step; a second one interrupts."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.request()
        display.note("stopping after this step; once more stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
