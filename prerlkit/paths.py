"""Paths as a user gives them: `~` is the home folder."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | Path) -> Path:
    """Return the path with the home folder for `~`; a user who is not known stays as written."""
    return Path(os.path.expanduser(path))
