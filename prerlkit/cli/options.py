"""What several commands share: options that are called and explained alike, quiet libraries, and writing a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prerlkit.cli.completion import card_names, recipe_names, run_folders
from prerlkit.cli.visible import echo
from prerlkit.errors import PrerlkitError, UsageError

if TYPE_CHECKING:
    from prerlkit.recipe.load import LoadedRecipe
    from prerlkit.trust import ForeignCode

RecipeName = Annotated[
    str,
    typer.Argument(
        help="A recipe's path, or the bare name of a packaged one.", metavar="RECIPE", autocompletion=recipe_names
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="PATH=VALUE", help="Override a key: --set stages.rl.steps=3. Repeatable."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Libraries' warnings, and tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the table at the end, and errors.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR=1 does the same.")]
Vram = Annotated[
    str | None, typer.Option("--vram", help="Plan for a CUDA card with so much memory: 24GiB.", metavar="SIZE")
]
Gpu = Annotated[
    str | None,
    typer.Option(
        "--gpu", help="Plan for a card by name: rtx4090, rtx3090, l4, …", metavar="CARD", autocompletion=card_names
    ),
]
Run = Annotated[
    Path,
    typer.Argument(help="A run folder, as `prerlkit run` leaves it.", metavar="RUN", autocompletion=run_folders),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="Where the run's base lies now: a folder or a Hub id."),
]
Checkpoint = Annotated[
    bool, typer.Option("--checkpoint", help="Take an unfinished run as it was at its last checkpoint.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Allow the code that the recipe brings: asked once for each folder and its files."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call left in the folder.")]


def say(verbose: bool) -> Callable[[str], None]:
    """Load the libraries, quietly unless `verbose`, and give the function that shows what is being done."""
    echo("loading libraries", err=True)
    if not verbose:
        from prerlkit.quiet import quiet_libraries

        quiet_libraries()
    return lambda line: echo(line, err=True)


def settled(loaded: LoadedRecipe) -> LoadedRecipe:
    """Return the recipe with the settings of the adapter that it begins with, which is checked on its base.

    A line on stderr names what is not on this machine, and is therefore not checked.

    Raises:
        UsageError: there is no such adapter, or no stage of this recipe can hold it.
        PrerlkitError: the adapter was trained on another base.
    """
    if loaded.recipe.stages[0].source is None:
        return loaded
    from prerlkit.quiet import quiet_libraries

    quiet_libraries()
    from prerlkit.train.taken_stage import check_on_base, settle

    recipe = settle(loaded.recipe, loaded.folder, fetch=False)
    if recipe.open:
        where = recipe.stages[0].source
        echo(f"not checked: the adapter {where} is not on this machine; its rank is taken to be 32", err=True)
    elif line := check_on_base(recipe, loaded.folder):
        echo(line, err=True)
    return replace(loaded, recipe=recipe)


def say_unchecked(untrusted: Sequence[ForeignCode]) -> None:
    """Say what a check has left out because it would have run code that the user has not allowed."""
    for code in untrusted:
        echo(f"not checked, as it would run code that you have not allowed: {code}", err=True)
    if untrusted:
        echo("--trust allows it and checks that too.", err=True)


def check_page(path: Path, option: str) -> None:
    """Raise UsageError where `path` is a folder; `option` names another."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", f"Name a file: {option} {path / 'report.html'}")


def write_page(path: Path, text: str, option: str) -> None:
    """Write `text`, folders above it included.

    Raises:
        PrerlkitError: it can't be written.
    """
    from prerlkit.files import write_text

    try:
        write_text(path, text)
    except OSError as error:
        raise PrerlkitError(
            f"{path} can't be written: {error.strerror}.", f"Choose another place with {option}."
        ) from None
