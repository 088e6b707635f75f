"""`prerlkit dose`: how much a first stage should do, measured instead of carried over."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import NoColor, Overrides, RecipeName, Trust, check_page, say_unchecked, write_page
from prerlkit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from prerlkit.dose.curve import DoseCurve, Proposal
    from prerlkit.dose.runs import DoseGrid
    from prerlkit.recipe.schema import Recipe

Rates = Annotated[
    str | None,
    typer.Option("--rates", metavar="LIST", help="1e-4,3e-4,1e-3; left out: 1/3, 1, 3 and 10 times the stage's."),
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Most steps; the stage's own if left out.")]
Every = Annotated[
    int | None, typer.Option("--every", min=1, help="Steps between two doses; a quarter of --steps if left out.")
]
_STOPPED = "stopped; the same command continues"


@guarded
def dose(
    recipe: RecipeName,
    overrides: Overrides = None,
    rates: Rates = None,
    steps: Steps = None,
    every: Every = None,
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="Held-out prompts for each dose.")] = 64,
    samples: Annotated[int, typer.Option("--samples", min=2, help="Samples for each prompt.")] = 4,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the runs; runs/<recipe>-dose if left out.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="The page; dose.html in the folder if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, run nothing.")] = False,
    trust: Trust = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each step.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks.")] = False,
    no_color: NoColor = False,
) -> None:
    """Find the dose of a recipe's first stage: its learning rate and steps, by what they do to the policy.

    [bold]prerlkit dose reach_dsrl[/bold]
      four rates, minutes on a laptop
    [bold]prerlkit dose my.yaml --rates 1e-5,3e-5,1e-4 --steps 20 --every 5[/bold]

    [bold]prerlkit dose math_dsrl --prompts 32 --dry-run[/bold]
      what it would run

    The first stage runs alone, once for each rate, and is evaluated on held-out samples every so many steps: steps cost
    nothing extra. The table and the page show the KL to the policy before the stage, thoughts, accuracy and length. The
    proposed dose has a KL of 0.02 to 0.2 nats per token, keeps the accuracy (avg@k is not below the interval of the
    start), and has the most reflection and transition thoughts. A rate at which the policy collapses ends early.

    Ctrl-C finishes the step, saves, and shows what is done. The same command continues; more rates may be added.
    """
    from prerlkit.cli.render.console import wide_console
    from prerlkit.dose.runs import DoseGrid, default_rates, most_steps, problems
    from prerlkit.recipe.load import load
    from prerlkit.trust import of_recipe, require

    console = wide_console(no_color=no_color)
    loaded = load(recipe, overrides or [])
    most = most_steps(loaded.recipe, steps)
    tried = _rates(rates) if rates is not None else default_rates(loaded.recipe)
    grid = DoseGrid(tried, most, every or max(1, most // 4), prompts, samples)
    folder = output or Path("runs") / f"{loaded.recipe.name}-dose"
    target = html or folder / "dose.html"
    check_page(target, "--html")
    _announce(console, loaded.recipe, grid, folder)
    for text in problems(loaded.recipe):
        console.print(f"· {text}", style="dim", markup=False, soft_wrap=True)
    if dry_run:
        _check(loaded.recipe, loaded.folder, grid, trust)
        console.print("dry run: nothing was run, nothing was written")
        return
    require(of_recipe(loaded.recipe, loaded.folder), loaded.folder, trust)
    done = _run(console, loaded.recipe, loaded.folder, grid, folder, trust=trust, quiet=quiet)
    _finish(console, recipe, loaded.recipe.name, grid, folder, target)
    if not done:
        console.print(_STOPPED)
        raise typer.Exit(130)


def _rates(text: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted({float(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        found = ()
    if not found or not all(0 < rate < float("inf") for rate in found):
        raise UsageError(f"--rates {text} is not a list of learning rates.", "For example --rates 1e-4,3e-4,1e-3.")
    return found


def _announce(console: Console, recipe: Recipe, grid: DoseGrid, folder: Path) -> None:
    stage, runs = recipe.stages[0], "run" if len(grid.rates) == 1 else "runs"
    console.print(
        f'dose of stage "{stage.name}" of {recipe.name}: {len(grid.rates)} {runs} of at most {grid.steps} steps at '
        f"{', '.join(f'{rate:g}' for rate in grid.rates)}; {grid.evaluations} evaluations of {grid.prompts} prompts × "
        f"{grid.samples} samples → {folder}",
        markup=False,
        soft_wrap=True,
    )


def _check(recipe: Recipe, recipe_folder: Path | None, grid: DoseGrid, trust: bool) -> None:
    from prerlkit.dose.runs import dose_recipe
    from prerlkit.quiet import quiet_libraries
    from prerlkit.train.validate import check_settings
    from prerlkit.trust import left_out

    quiet_libraries()
    unchecked = left_out(recipe, recipe_folder, trust)
    say_unchecked(unchecked)
    for rate in grid.rates:
        check_settings(dose_recipe(recipe, grid, rate), recipe_folder, unchecked)


def _run(
    console: Console,
    recipe: Recipe,
    recipe_folder: Path | None,
    grid: DoseGrid,
    folder: Path,
    *,
    trust: bool,
    quiet: bool,
) -> bool:
    """Run what is missing, each run with its own display."""
    from contextlib import ExitStack

    from prerlkit.cli.render.display import Display
    from prerlkit.dose.runs import run_doses

    with ExitStack() as shown:

        def display() -> Display:
            shown.close()  # of the run before
            return shown.enter_context(Display(console, quiet=quiet))

        def on_run(rate: float, state: str) -> None:
            number = grid.rates.index(rate) + 1
            console.print(f"[bold]rate {rate:g}[/bold] ({number} of {len(grid.rates)}): {state}", soft_wrap=True)

        try:
            return run_doses(recipe, recipe_folder, grid, folder, display, trust=trust, on_run=on_run)
        except KeyboardInterrupt:
            shown.close()
            console.print(_STOPPED)
            raise typer.Exit(130) from None


def _finish(console: Console, source: str, name: str, grid: DoseGrid, folder: Path, target: Path) -> None:
    """Print the table and the proposal, and write the page."""
    from rich.markup import escape
    from rich.table import Table

    from prerlkit.dose import words
    from prerlkit.dose.curve import propose, read_curve
    from prerlkit.dose.html import page
    from prerlkit.dose.runs import folder_of

    curve = read_curve({rate: folder / folder_of(rate) for rate in grid.rates})
    proposal = propose(curve)
    table = Table(title="held-out, after so many steps at a rate", title_justify="left")
    for number, heading in enumerate(words.head(curve)):
        table.add_column(heading, justify="right" if number else "left")
    for cells in words.rows(curve):
        table.add_row(*map(escape, cells))
    console.print(table)
    _print_proposal(console, source, curve, proposal)
    if curve.rows:
        write_page(target, page(name, curve, proposal), "--html")
        console.print(f"page: {target}", markup=False, soft_wrap=True)


def _print_proposal(console: Console, source: str, curve: DoseCurve, proposal: Proposal) -> None:
    from prerlkit.dose.curve import settings_of, yaml_of

    if proposal.row is None:
        console.print(f"no dose is proposed: {proposal.why}", markup=False, soft_wrap=True)
        return
    words = " ".join(f"--set {shlex.quote(value)}" for value in settings_of(curve, proposal.row))
    console.print(
        f"proposed: rate {proposal.row.rate:g}, {proposal.row.step} steps ({proposal.why})",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"  prerlkit run {shlex.quote(source)} {words}", markup=False, soft_wrap=True, style="bold")
    console.print("or in the recipe:", markup=False)
    console.print(yaml_of(curve, proposal.row), markup=False)
