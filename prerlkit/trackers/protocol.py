"""What a tracker is: three calls, in a separate process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Start:
    """What a tracker is opened with. JSON values only: it crosses into the tracker's process.

    Attributes:
        folder: the run folder, absolute.
        name: of the run, for people.
        group: the recipe's name; seeds of it are one group.
        id: of the run, for the tracker; the same when the run resumes.
        resumed: the tracker has received steps of this run before.
        config: the recipe, without secrets.
        settings: the tracker's own, from the recipe.
    """

    folder: str
    name: str
    group: str
    id: str
    resumed: bool
    config: Mapping[str, Any]
    settings: Mapping[str, Any]


class Tracker(Protocol):
    """An open tracker. Any call may raise, and may take as long as it likes: only the tracker is lost by that."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values of a step of the run, never twice; an evaluation's come after those of its step, under `eval/`."""

    def close(self, failed: bool) -> None:
        """The run ended."""
