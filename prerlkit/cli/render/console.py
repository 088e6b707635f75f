"""Where commands print: the terminal, or a wide page where there is none."""

from __future__ import annotations

from rich.console import Console

from prerlkit.cli.visible import VisibleConsole


def wide_console(*, no_color: bool = False, quiet: bool = False) -> Console:
    """Return a console of the terminal's width, or of 160 columns in a log, which has no reason to wrap at 80.

    A notebook is a log: its cells show plain lines.
    """
    console = VisibleConsole(no_color=no_color or None, highlight=False, quiet=quiet, force_jupyter=False)
    if console.is_terminal:
        return console
    return VisibleConsole(no_color=no_color or None, highlight=False, width=160, quiet=quiet, force_jupyter=False)
