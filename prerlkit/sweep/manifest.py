"""sweep.json: what a sweep consists of and how far it is. Runs' own folders decide what is finished, not this file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prerlkit.errors import UsageError
from prerlkit.files import write_json
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import read_json
from prerlkit.runs.state import read_state
from prerlkit.sweep.grid import Point
from prerlkit.train.resume import check_recipe

NAME = "sweep.json"
_NOTHING_TO_DO = re.compile(r"recipe changed: (description|output\.|health\.|memory\.|probes)")
"""Changes that don't make a finished run unfinished."""
State = Literal["waiting", "running", "completed", "stopped", "failed"]


@dataclass(slots=True)
class Entry:
    """A point and what became of it.

    Attributes:
        before: it was finished when this call began.
        begun: when its process started, on the monotonic clock.
        seconds: that this call spent on it.
        error: the last line that a failed run said.
    """

    point: Point
    state: State = "waiting"
    before: bool = False
    begun: float = 0.0
    seconds: float = 0.0
    exit_code: int | None = None
    error: str = ""
    changes: list[str] = field(default_factory=list)

    def to_json(self, log: Path) -> dict[str, Any]:
        return {
            "folder": str(self.point.folder),
            "recipe": self.point.source,
            "seed": self.point.recipe.seed,
            "settings": dict(self.point.settings),
            "overrides": list(self.point.overrides),
            "state": self.state,
            "exit_code": self.exit_code,
            "error": self.error,
            "log": str(log),
        }


def log_path(point: Point) -> Path:
    """The log of a run, relative to the sweep's folder: next to the runs, as a run owns its folder."""
    return Path("logs", "_".join(point.folder.parts) + ".log")


def plan(points: Sequence[Point], folder: Path) -> list[Entry]:
    """Every point with whether it is finished. Creates nothing.

    Raises:
        UsageError: the folder is something else, or a run in it was made from another recipe.
    """
    if RunFiles(folder).recipe.is_file():
        raise UsageError(f"{folder} is a run, not a sweep.", "Choose another folder with --output.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file.", "Choose a folder with --output.")
    if folder.is_dir() and not (folder / NAME).is_file() and any(p.name != ".lock" for p in folder.iterdir()):
        raise UsageError(f"{folder} exists and is not a sweep (no {NAME}).", "Choose another --output.")
    return [_entry(point, RunFiles(folder / point.folder)) for point in points]


def _entry(point: Point, run: RunFiles) -> Entry:
    changes = check_recipe(point.recipe, run)
    more = any(not _NOTHING_TO_DO.match(change) for change in changes)
    finished = run.recipe.is_file() and read_state(run.path) == "completed" and not more
    return Entry(point, "completed" if finished else "waiting", before=finished, changes=changes)


def write(folder: Path, sources: Sequence[str], entries: Sequence[Entry]) -> None:
    """Write the file; points of earlier calls that this one doesn't have stay in it."""
    own = [entry.to_json(log_path(entry.point)) for entry in entries]
    names = {line["folder"] for line in own}
    earlier = [line for line in read_json(folder / NAME).get("points", []) if line["folder"] not in names]
    write_json(folder / NAME, {"version": 1, "recipes": list(sources), "points": [*earlier, *own]})
