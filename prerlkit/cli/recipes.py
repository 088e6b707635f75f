"""`prerlkit recipes`: look at recipes, check them, start one of your own."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.completion import PackagedName, VerifierName
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
    from prerlkit.quiet import quiet_imports

    quiet_imports()
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
    start: PackagedName = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FILE", help="Your rows: jsonl, json, csv or parquet.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="COLUMN", help="Of --data: the gold answer's column.")
    ] = None,
    verifier: VerifierName = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="COLUMN", help="Of --data: the question's column, or a text with {column}."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="ID", help="Of --data: a Hub id or a folder; else a small one.")
    ] = None,
) -> None:
    """Write a recipe of your own with comments: for your rows, or from a packaged one.

    [bold]prerlkit recipes init mine.yaml[/bold]
      a copy of the quickstart
    [bold]prerlkit recipes init my.yaml --data my.jsonl --answer gold --verifier math[/bold]
      for the rows of a file
    """
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path} should end in .yaml.")
    if path.exists():
        raise UsageError(f"{path} exists.", "Choose another name.")
    if data is None and (answer or verifier or prompt or model):
        raise UsageError("--answer, --verifier, --prompt and --model belong to --data.", "Add --data FILE.")
    if data is not None:
        if start is not None:
            raise UsageError("--data and --from exclude each other.", "Choose one.")
        if verifier is None:
            raise UsageError("Which verifier judges the answers?", "Add --verifier math, for example.")
        _init_for_rows(path, data, answer=answer, verifier=verifier, prompt=prompt, model=model)
        return
    from prerlkit.recipe.load import locate
    from prerlkit.train.starting_recipe import recipe_name

    name = start or "quickstart_dsrl"
    text = locate(name).read_text(encoding="utf-8")
    path.write_text(text.replace(f"\nname: {name}\n", f"\nname: {json.dumps(recipe_name(path))}\n"), encoding="utf-8")
    echo(f"{path}: a copy of {name}. Edit it, then: prerlkit run {shlex.quote(str(path))}")


def _init_for_rows(
    path: Path, data: Path, *, answer: str | None, verifier: str, prompt: str | None, model: str | None
) -> None:
    from prerlkit.train.starting_recipe import starting_recipe

    made = starting_recipe(path, data, answer=answer, verifier=verifier, prompt=prompt, model=model)
    say_unchecked(made.unchecked)
    path.write_text(made.text, encoding="utf-8")
    echo(f"{path}: a recipe for {data}. Look at it, then: prerlkit run {shlex.quote(str(path))} --dry-run")
