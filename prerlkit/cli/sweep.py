"""`prerlkit sweep`: recipes × settings × seeds, one run each, ready to be compared."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.completion import recipe_names
from prerlkit.cli.guard import guarded
from prerlkit.cli.options import NoColor, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from prerlkit.sweep.grid import Point
    from prerlkit.sweep.manifest import Entry


@guarded
def sweep(
    recipes: Annotated[
        list[str],
        typer.Argument(help="Recipes: paths or packaged names.", metavar="RECIPE…", autocompletion=recipe_names),
    ],
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="LIST", help="0,1,2 or 0-4; the recipe's own if left out.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=A,B", help="Values to try. Repeatable: every combination is run."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The sweep's folder; runs/<recipe>-sweep if left out.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Runs at once: a GPU each, or a share of the cores each.")
    ] = 1,
    stop_on_failure: Annotated[
        bool, typer.Option("--stop-on-failure", help="Start no more runs after one that failed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every point, list them, run nothing.")] = False,
    trust: Trust = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks.")] = False,
    no_color: NoColor = False,
) -> None:
    """Run recipes with every combination of settings and seeds, each in a separate folder and process.

    [bold]prerlkit sweep quickstart_dsrl quickstart_grpo --seeds 0-4[/bold]
    [bold]prerlkit sweep my.yaml --seeds 0,1,2 --set stages.rl.learning_rate=1e-4,3e-4[/bold]
    [bold]prerlkit sweep my.yaml --set adapter.rank=8,32 --set rollout.group_size=4,8[/bold]
    [bold]prerlkit sweep my.yaml --seeds 0-7 --jobs 2 -o runs/seeds[/bold]

    A comma in brackets, braces or quotes parts no values: --set 'stages.rl.objective=grpo,{preset: grpo, signal_only:
    true}' tries two. One value is the same for all. Every point is checked before the first one starts.

    The same command again continues: finished runs are skipped, others resumed, failed ones tried again. More seeds or
    values may be added. Ctrl-C lets the runs finish their step and save. Afterwards: prerlkit compare FOLDER.
    """
    from prerlkit.quiet import quiet_libraries

    if not verbose:
        quiet_libraries()
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.sweep import points_table
    from prerlkit.sweep import grid, manifest
    from prerlkit.trust import of_recipe, require

    console = wide_console(no_color=no_color)
    points = grid.points(recipes, grid.seed_list(seeds) if seeds is not None else (), settings or (), trust)
    folder = output or Path("runs") / f"{'-'.join(dict.fromkeys(p.recipe.name for p in points))}-sweep"
    entries = manifest.plan(points, folder)
    if dry_run:
        console.print(points_table(entries, folder))
        console.print("dry run: nothing was run, nothing was written")
        return
    for point in points:
        require(of_recipe(point.recipe, point.recipe_folder), point.recipe_folder, trust)
    stopped = run_points(console, recipes, entries, folder, jobs, stop_on_failure=stop_on_failure, trust=trust)
    _finish(console, entries, folder, stopped=stopped)


def run_points(
    console: Console,
    recipes: Sequence[str],
    entries: Sequence[Entry],
    folder: Path,
    jobs: int,
    *,
    stop_on_failure: bool = False,
    trust: bool = False,
) -> bool:
    """Go through the points; return whether it was stopped."""
    from prerlkit.cli.render.sweep import SweepDisplay
    from prerlkit.runs.lock import locked
    from prerlkit.sweep.execute import Sweep, slots

    places = slots(jobs, cpu_only=all(entry.point.recipe.model.device == "cpu" for entry in entries))
    _preload()
    with locked(folder) as held, SweepDisplay(console, entries, folder) as display:
        running = Sweep(
            folder,
            recipes,
            entries,
            places,
            stop_on_failure=stop_on_failure,
            trust=trust,
            run_here=partial(_run_here, trust=trust),
            held=held,
            changed=display.changed,
            tick=display.tick,
            on_message=display.on_message,
        )
        running.run()
    return running.stopped


def _run_here(point: Point, folder: Path, *, trust: bool) -> int:
    """Do `prerlkit run … --resume` for a point and return its exit code."""
    from prerlkit.cli.run import run

    try:
        run(point.source, list(point.overrides), output=folder, resume=True, trust=trust, no_color=True)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _preload() -> None:
    """Import once what every run needs. No operation of torch is done: its threads would not be in copies of this."""
    import prerlkit.cli.render.display
    import prerlkit.plan.fit
    import prerlkit.trackers.watching
    import prerlkit.train.run  # noqa: F401


def _finish(console: Console, entries: Sequence[Entry], folder: Path, *, stopped: bool) -> None:
    """The table, where things are, the next command; the exit code."""
    from prerlkit.cli.render.sweep import points_table

    console.print(points_table(entries, folder))
    if stopped:
        console.print("stopped; the same command continues")
        raise typer.Exit(130)
    if any(entry.state == "completed" for entry in entries):
        console.print(f"compare them:  [bold]prerlkit compare {shlex.quote(str(folder))}[/bold]", soft_wrap=True)
    if failed := sum(entry.state == "failed" for entry in entries):
        waiting = sum(entry.state == "waiting" for entry in entries)
        more = f", {waiting} not started" if waiting else ""
        console.print(f"{failed} of {len(entries)} failed{more}; the same command tries them again", style="red")
        raise typer.Exit(1)
