"""What merge, export and push share on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="A run folder, as `prerlkit run` leaves it.", metavar="RUN")]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="Where the run's base lies now: a folder or a Hub id."),
]
Checkpoint = Annotated[
    bool, typer.Option("--checkpoint", help="Take an unfinished run as it was at its last checkpoint.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call left in the folder.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Libraries' warnings, and tracebacks.")]


def say(verbose: bool) -> Callable[[str], None]:
    """Load the libraries, quietly unless `verbose`, and give the function that shows what is being done."""
    typer.echo("loading libraries", err=True)
    if not verbose:
        from prerlkit.quiet import quiet_libraries

        quiet_libraries()
    return lambda line: typer.echo(line, err=True)
