"""A terminal whose encoding lacks a character gets an escape for it, and the command continues."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_an_encoding_without_a_character_ends_no_command(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LANG": "C", "LC_ALL": "C"}
    command = [sys.executable, "-m", "prerlkit", "recipes", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode("ascii", "replace")
    assert b"UnicodeEncodeError" not in done.stderr
    assert b"reach_dsrl" in done.stdout
