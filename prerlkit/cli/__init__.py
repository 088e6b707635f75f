"""The command line: one file a command, no logic of its own."""

from __future__ import annotations


def main() -> None:
    """The console command `prerlkit`."""
    from prerlkit.cli.app import app

    app()
