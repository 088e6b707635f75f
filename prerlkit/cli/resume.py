"""`prerlkit resume`: continue a run from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.completion import run_folders
from prerlkit.cli.guard import guarded
from prerlkit.cli.options import NoColor, Quiet, Trust, Verbose
from prerlkit.errors import UsageError
from prerlkit.runs.files import RunFiles, recipe_folder


@guarded
def resume(
    run: Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN", autocompletion=run_folders)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="PATH=VALUE", help="Change steps, evaluation, health, output or memory."),
    ] = None,
    trust: Trust = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Continue a run that stopped, failed or was killed, from its last whole checkpoint.

    [bold]prerlkit resume runs/mine[/bold]                           exactly where it was
    [bold]prerlkit resume runs/mine --set stages.rl.steps=200[/bold]   for longer
    """
    from prerlkit.recipe.load import load

    recipe = RunFiles(run).recipe
    if not recipe.is_file():
        what = "is not a run (no recipe.yaml)" if run.is_dir() else "does not exist"
        raise UsageError(f"{run} {what}.", "Give the folder that `prerlkit run` wrote to.")
    loaded = load(str(recipe), overrides or [])
    from prerlkit.cli.render.console import wide_console
    from prerlkit.cli.render.display import Display
    from prerlkit.cli.run import execute
    from prerlkit.launch import Launch

    launch = Launch(loaded.recipe, recipe_folder(run), run, "resume", verbose=verbose, trust=trust)
    execute(launch, Display(wide_console(no_color=no_color), quiet=quiet, recipe=loaded.recipe))
