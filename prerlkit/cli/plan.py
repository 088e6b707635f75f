"""`prerlkit plan`: memory and time of a recipe before anything is started, and what would make it fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Gpu, Overrides, RecipeName, Trust, Verbose, Vram, settled


@guarded
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    vram: Vram = None,
    gpu: Gpu = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Path of the config.json of a model that is not on this machine.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Run two real steps of each stage here, and tell the hours.")
    ] = False,
    trust: Trust = False,
    verbose: Verbose = False,
) -> None:
    """Say how much memory each phase of a run takes, whether it fits, and what would make it fit.

    [bold]prerlkit plan math_dsrl --gpu rtx4090[/bold]
      for a card that is not here
    [bold]prerlkit plan my.yaml[/bold]
      for the device at hand
    [bold]prerlkit plan my.yaml --set model.quantization=nf4 --vram 12GiB[/bold]


    Nothing is loaded and no network is used: the run's own training step is traced on shapes alone. Every prompt and
    completion is taken at its limit. Exit code 1 when it does not fit.
    """
    from prerlkit.cli.render.console import wide_console
    from prerlkit.recipe.load import load
    from prerlkit.recipe.plugins import bind
    from prerlkit.trust import of_files, of_model, of_recipe, require

    console = wide_console()
    loaded = settled(load(recipe, overrides or []))
    # Tracing the training step runs the recipe's losses and the model's own code, but no verifier.
    traced = (*of_files(loaded.recipe, loaded.folder), *of_model(loaded.recipe.model))
    require(of_recipe(loaded.recipe, loaded.folder) if probe else traced, loaded.folder, trust)
    if not verbose:
        from prerlkit.quiet import quiet_libraries

        quiet_libraries()
    from prerlkit.cli.render.plan import print_plan, print_probe
    from prerlkit.plan.config import find_config
    from prerlkit.plan.device import choose
    from prerlkit.plan.fit import plan_and_advice

    device = choose(loaded.recipe.model.device, vram, gpu)
    bound = bind(loaded.recipe, loaded.folder)
    made, advice = plan_and_advice(bound, find_config(bound.model, config), device)
    print_plan(console, loaded.recipe, made, advice)
    if probe:
        from prerlkit.cli.render.display import Display
        from prerlkit.plan.probe import probe as run_probe

        with Display(console) as display:
            found = run_probe(loaded.recipe, loaded.folder, display)
        print_probe(console, loaded.recipe, found)
    if not made.fits:
        raise typer.Exit(1)
