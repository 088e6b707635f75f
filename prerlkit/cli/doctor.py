"""`prerlkit doctor`: what this machine offers, what is missing, and with `--run` whether everything works on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.visible import echo
from prerlkit.errors import UsageError


@guarded
def doctor(
    run: Annotated[
        bool, typer.Option("--run", help="Also try everything on this device with a tiny model, in under 3 minutes.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--json", help="With --run: write all of it into a file, for a bug report.")
    ] = None,
) -> None:
    """Say what this machine offers and what is missing: processor, card, packages, sandbox, disk, Hub, fitting recipes.

    [bold]prerlkit doctor[/bold]                              what is here
    [bold]prerlkit doctor --run --json doctor.json[/bold]     and whether it works

    Exit code 1 when something that is here can't be used (a card that torch doesn't see, a package outside the accepted
    versions, no sandbox, no room, a check that fails); what is optional and absent is no fault. `--run` makes its own
    model and needs no network. A Hub token is never shown.
    """
    if output is not None and not run:
        raise UsageError("--json is the report of --run.", "Add --run.")
    from prerlkit.quiet import quiet_libraries

    quiet_libraries()
    from prerlkit.doctor.machine import SECTIONS
    from prerlkit.doctor.recipes import recipes

    findings = {title: look() for title, look in {**SECTIONS, "recipes": recipes}.items()}
    for title, found in findings.items():
        echo(f"{title}: {'ok' if found.fine else 'NOT USABLE'}")
        for line in found.lines:
            echo(f"  {line}")
    fine = all(found.fine for found in findings.values())
    if run:
        from prerlkit.cli.render.doctor import print_checks
        from prerlkit.doctor.run import report

        results = print_checks()
        if output is not None:
            output.write_text(json.dumps(report(findings, results), indent=2) + "\n", encoding="utf-8")
        fine = fine and all(result.verdict != "FAILED" for result in results)
    if not fine:
        raise typer.Exit(1)
