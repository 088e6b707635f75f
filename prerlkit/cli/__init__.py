"""The command line: one file a command, no logic of its own."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """The console command `prerlkit`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding without "→" (cp1252, ascii) must not end a command
            stream.reconfigure(errors="backslashreplace")
    from prerlkit.cli.app import app

    app()
