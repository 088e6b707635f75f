"""`prerlkit recipes`: look at recipes, check them, start one of your own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.options import Overrides, RecipeName, Trust, say_unchecked, settled
from prerlkit.cli.visible import VisibleConsole, echo
from prerlkit.errors import UsageError

recipes = typer.Typer(no_args_is_help=True, help="List, show, check and start recipes.")


@recipes.command("list")
@guarded
def list_() -> None:
    """The packaged recipes, with what each is for."""
    from rich.table import Table

    from prerlkit.recipe.load import load, packaged

    table = Table("recipe", "stages", "what it is")
    for name in packaged():
        recipe = load(name).recipe
        table.add_row(name, " → ".join(f"{s.name} {s.steps}" for s in recipe.stages), recipe.description)
    VisibleConsole(highlight=False).print(table)


@recipes.command()
@guarded
def show(
    recipe: RecipeName, resolved: Annotated[bool, typer.Option("--resolved", help="With every default.")] = False
) -> None:
    """Print a recipe as written, or with everything resolved."""
    from prerlkit.recipe.load import dump, load, locate

    echo(dump(load(recipe).recipe) if resolved else locate(recipe).read_text(encoding="utf-8"), nl=False)


@recipes.command()
@guarded
def schema() -> None:
    """Print the JSON Schema of recipes, for an editor to complete and check them.

    Save it (prerlkit recipes schema > recipe.schema.json) and put this line on top of a recipe:
    # yaml-language-server: $schema=recipe.schema.json
    """
    from prerlkit.recipe.schema import Recipe

    echo(json.dumps(Recipe.model_json_schema(), indent=2))


@recipes.command()
@guarded
def validate(recipe: RecipeName, overrides: Overrides = None, trust: Trust = False) -> None:
    """Check a recipe without running it: keys, types, ranges, and its verifiers' and generators' own settings.

    Code that the recipe brings is run only with --trust; without, its own settings stay unchecked.
    """
    from prerlkit.recipe.load import load
    from prerlkit.train.validate import check_settings, warnings
    from prerlkit.trust import left_out

    loaded = settled(load(recipe, overrides or []))
    unchecked = left_out(loaded.recipe, loaded.folder, trust)
    check_settings(loaded.recipe, loaded.folder, unchecked)
    say_unchecked(unchecked)
    for line in warnings(loaded.recipe):
        echo(line)
    echo(f"{loaded.path}: valid ({len(loaded.recipe.stages)} stages)")


@recipes.command()
@guarded
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    start: Annotated[str, typer.Option("--from", help="The packaged recipe to start from.")] = "quickstart_dsrl",
) -> None:
    """Write a recipe of your own, started from a packaged one with its comments."""
    from prerlkit.recipe.load import locate

    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path} should end in .yaml.")
    if path.exists():
        raise UsageError(f"{path} exists.", "Choose another name.")
    text = locate(start).read_text(encoding="utf-8")
    path.write_text(text.replace(f"\nname: {start}\n", f"\nname: {path.stem}\n"), encoding="utf-8")
    echo(f"{path}: a copy of {start}. Edit it, then: prerlkit run {path}")
