"""How Python is started as a child process: the same packages, and no module of the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import prerlkit


def python(*arguments: str) -> list[str]:
    """Return the command that starts this Python. `-P`: no `pip.py` of the working directory is taken for pip."""
    return [sys.executable, "-P", *arguments]


def with_prerlkit(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a child finds this package, also where it is used from a bare checkout."""
    root = Path(prerlkit.__file__).resolve().parents[1]
    if root.name in ("site-packages", "dist-packages"):
        return dict(environment)
    paths = [str(root), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}
