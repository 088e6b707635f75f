"""Options that several commands share, so that they are called and explained alike."""

from __future__ import annotations

from typing import Annotated

import typer

RecipeName = Annotated[
    str, typer.Argument(help="A recipe's path, or the bare name of a packaged one.", metavar="RECIPE")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="PATH=VALUE", help="Override a key: --set stages.rl.steps=3. Repeatable."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Libraries' warnings, and tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the table at the end, and errors.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR=1 does the same.")]
