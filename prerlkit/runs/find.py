"""From what a person names to runs: run folders, and folders that hold some, such as a sweep's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from prerlkit.errors import UsageError
from prerlkit.runs.files import RunFiles
from prerlkit.runs.run import Run, reading_runs

_DEPTH = 4
"""Folders below the named one in which runs are looked for."""


@reading_runs()
def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs, each once, in the order of the names given and then of their folders.

    Raises:
        UsageError: a path is neither a run nor a folder with runs in it.
        PrerlkitError: a file of a run is damaged.
    """
    found: dict[Path, Run] = {}
    several = len(paths) > 1
    for path in paths:
        if several and path.is_file():
            continue  # of `runs/*` in a shell
        folders = list(_run_folders(path, _DEPTH, set()))
        if not folders:
            what = "is not a run folder and has none in it" if path.is_dir() else "is no folder"
            raise UsageError(f"{path} {what}.", "Name folders that `prerlkit run` or `prerlkit sweep` wrote.")
        for folder in folders:
            found.setdefault(folder.resolve(), Run.open(folder))
    if not found:
        raise UsageError("None of these is a folder.", "Name folders that `prerlkit run` or `prerlkit sweep` wrote.")
    return list(found.values())


def _run_folders(path: Path, depth: int, seen: set[Path]) -> Iterator[Path]:
    """Find run folders. `seen`: folders that were looked into, which a link may lead to again."""
    if (place := path.resolve()) in seen:
        return
    seen.add(place)
    if RunFiles(path).recipe.is_file():
        yield path
    elif path.is_dir() and depth:
        for child in sorted(path.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _run_folders(child, depth - 1, seen)
