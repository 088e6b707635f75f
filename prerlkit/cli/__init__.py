"""The command line: one file a command, no logic of its own."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """The console command `prerlkit`."""
    # Read by OpenMP when torch is loaded: a thread that has nothing to do sleeps instead of keeping a core from others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding without "→" (cp1252, ascii) must not end a command
            stream.reconfigure(errors="backslashreplace")
    from prerlkit.cli.app import app

    app()
