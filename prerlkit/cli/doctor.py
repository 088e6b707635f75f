"""`prerlkit doctor`: what this machine offers, what is missing, and the line that installs it."""

from __future__ import annotations

import typer

from prerlkit.cli.guard import guarded
from prerlkit.cli.visible import echo


@guarded
def doctor() -> None:
    """Say what this machine offers and what is missing: card, driver, packages, sandbox, disk, Hub.

    Exit code 1 when something that is here can't be used (a card that torch doesn't see, a package outside the accepted
    versions, no sandbox, no room); what is optional and absent is no fault. A Hub token is never shown.
    """
    from prerlkit.doctor import SECTIONS
    from prerlkit.quiet import quiet_libraries

    quiet_libraries()
    findings = {title: look() for title, look in SECTIONS.items()}
    for title, found in findings.items():
        echo(f"{title}: {'ok' if found.fine else 'NOT USABLE'}")
        for line in found.lines:
            echo(f"  {line}")
    if not all(found.fine for found in findings.values()):
        raise typer.Exit(1)
