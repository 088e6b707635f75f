"""How an optional part is installed from where this program was installed: a checkout is not on an index."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


def pip_install(extra: str) -> str:
    """Return the command that adds `extra`: `pip install '.[vllm]'` in the checkout that this program comes from."""
    return f"pip install '{_source()}[{extra}]'"


def _source() -> str:
    """Return the checkout's folder, `.` where it is the working directory; else the distribution's name."""
    try:
        written = metadata.distribution("prerlkit").read_text("direct_url.json")
        url = urlsplit(json.loads(written or "{}").get("url", ""))
    except (metadata.PackageNotFoundError, ValueError):
        return "prerlkit"
    folder = Path(unquote(url.path))
    if url.scheme != "file" or not (folder / "pyproject.toml").is_file():
        return "prerlkit"
    return "." if folder.resolve() == Path.cwd().resolve() else str(folder)
