"""`prerlkit verify-resume`: prove on this machine that to stop and resume changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Overrides, RecipeName, Trust, Verbose
from prerlkit.cli.visible import VisibleConsole
from prerlkit.errors import PrerlkitError


@guarded
def verify_resume(
    recipe: RecipeName,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Steps of the trial, over all stages.")] = 4,
    at: Annotated[int | None, typer.Option("--at", min=1, help="Stop after this step; half way if left out.")] = None,
    overrides: Overrides = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Keep the two run folders here.")] = None,
    trust: Trust = False,
    verbose: Verbose = False,
) -> None:
    """Run a recipe's first steps once straight and once stopped and resumed, and compare every byte.

    [bold]prerlkit verify-resume smoke[/bold]                      4 steps against 2 + 2
    [bold]prerlkit verify-resume my.yaml --steps 6 --at 5[/bold]   6 steps against 5 + 1

    Exit code 1 when anything differs. Times and memory are left out.
    """
    from prerlkit.quiet import quiet_libraries
    from prerlkit.recipe.load import load
    from prerlkit.trust import of_recipe, require

    loaded = load(recipe, overrides or [])
    require(of_recipe(loaded.recipe, loaded.folder), loaded.folder, trust)
    console = VisibleConsole(highlight=False, soft_wrap=True)
    if not verbose:
        quiet_libraries()
    from prerlkit.train.verify_resume import prove, shorten

    short = shorten(loaded.recipe, steps)
    total = sum(stage.steps for stage in short.stages)
    stop_after = at or total // 2
    if stop_after >= total:
        raise typer.BadParameter(f"--at must be below the {total} steps of the trial")
    stages = ", ".join(f"{stage.name} {stage.steps}" for stage in short.stages)
    console.print(f"{total} steps ({stages}) against {stop_after} + {total - stop_after}", markup=False)
    proof = prove(short, loaded.folder, stop_after, keep=keep, report=lambda text: console.print(text, markup=False))
    for file in proof.equal:
        console.print(f"equal      {file}", markup=False)
    for difference in proof.different:
        console.print(f"different  {difference}", markup=False)
    for note in proof.notes:
        console.print(note, markup=False)
    if proof.different:
        raise PrerlkitError(
            f"{len(proof.different)} of {len(proof.equal) + len(proof.different)} files differ: on this machine, with "
            "this recipe, a resumed run is not the straight one.",
            "With engine hf on a CPU that is a bug: please report it with the recipe. --keep FOLDER keeps both runs.",
        )
    console.print("a resumed run is the straight run, to the byte")
