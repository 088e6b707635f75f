"""Finds the code that a verifier's name would run, without importing it."""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path

import prerlkit.verifiers
from prerlkit.errors import UsageError
from prerlkit.verify.registry import GROUP, by_path, sources_of


def code_of(name: str, folder: Path | None = None) -> list[Path | str]:
    """Return the code that a name would run, apart from built-in verifiers and installed entry points.

    Nothing is imported. A name that doesn't exist runs nothing.

    Args:
        folder: the recipe's.

    Returns:
        Files, or a module's name where its file isn't found.
    """
    if ":" in name or name.endswith(".py"):
        try:
            sources = [by_path(name, folder)]
        except UsageError:
            return []
    else:
        sources = [source for source in sources_of(folder).get(name, ()) if isinstance(source.where, Path)]
    return [_file_of(source.where) for source in sources if not _is_installed(source.where, name)]


def _is_installed(where: str | Path, name: str) -> bool:
    """Whether a place is this package's, a copy of a built-in verifier's file, or what an entry point names.

    Another function in the module of an entry point was not installed as a verifier.
    """
    if isinstance(where, Path):
        built_in = [Path(place).resolve() / where.name for place in prerlkit.verifiers.__path__]
        return any(own == where or (own.is_file() and own.read_bytes() == where.read_bytes()) for own in built_in)
    entries = {entry.value for entry in entry_points(group=GROUP)}
    return where == "prerlkit" or where.startswith("prerlkit.") or name in entries


def _file_of(where: str | Path) -> Path | str:
    """The file of a module, found without importing the packages above it."""
    if isinstance(where, Path):
        return where
    spec, places, parts = None, None, where.split(".")
    for number in range(len(parts)):
        try:
            spec = PathFinder.find_spec(".".join(parts[: number + 1]), places)
        except (ImportError, ValueError, AttributeError):
            return where
        if spec is None:
            return where
        places = spec.submodule_search_locations
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else where
