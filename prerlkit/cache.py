"""Where prerlkit keeps what it can make again: converted models, traces, measurements of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return `$PRERLKIT_CACHE`, else `$XDG_CACHE_HOME/prerlkit`, else `~/.cache/prerlkit`."""
    if own := os.environ.get("PRERLKIT_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "prerlkit"
    return Path.home() / ".cache" / "prerlkit"
