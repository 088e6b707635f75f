"""The command line: one file per command, no logic here."""

from __future__ import annotations

import io
import os
import sys

from prerlkit.cli.system import refusal
from prerlkit.interrupt import answer_at_once, installed


def main() -> None:
    """The console command `prerlkit`."""
    if why := refusal(sys.platform, sys.version_info[:2]):
        sys.stderr.write(f"error {why}\n")
        sys.exit(2)
    try:
        answer_at_once()
        _main()
    except SystemExit as end:
        if own := installed():
            own.exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except KeyboardInterrupt:  # outside of a command, as while it is imported
        sys.stderr.write("stopped\n")
        sys.exit(130)


def _main() -> None:
    # Read by GNU's OpenMP when torch is loaded: a thread with nothing to do soon sleeps instead of keeping a core from
    # others. OMP_WAIT_POLICY=passive, which never spins, makes a step on an idle machine half as long again.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding without "→" (cp1252, ascii) must not end a command
            stream.reconfigure(errors="backslashreplace")
    from prerlkit.cli.app import app

    app()
