"""A run's checkpoints: the last few and the best are kept, and a run resumes from the newest that is whole."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from prerlkit.errors import PrerlkitError
from prerlkit.policy.adapters import AdapterStack
from prerlkit.runs import checkpoint
from prerlkit.runs.checkpoint import Checkpoint, Damaged, Position, SourceState


class Checkpoints:
    """The folder `checkpoints/`, one `step-<n>` each. They are ordered by step, not by time.

    Args:
        keep: how many of the newest are kept.
        best: the step whose evaluation was the best so far, or None; asked at each save.
        origin: written into each; see `checkpoint.save`.
    """

    def __init__(
        self, folder: Path, *, keep: int, best: Callable[[], int | None], origin: Mapping[str, Any] | None = None
    ) -> None:
        self._folder = folder
        self._keep = keep
        self._best = best
        self._origin = origin
        self._saved: Position | None = None

    def save(
        self,
        position: Position,
        adapters: AdapterStack,
        optimizer: torch.optim.Optimizer,
        source: SourceState | None = None,
    ) -> None:
        """Write the checkpoint of `position`, then delete those that need not be kept.

        Raises:
            PrerlkitError: the adapter is not finite; the checkpoints before stay.
        """
        if self._saved is not None and (self._saved.stage, self._saved.step) == (position.stage, position.step):
            return  # nothing has changed since
        checkpoint.save(self._folder / f"step-{position.step:06d}", position, adapters, optimizer, self._origin, source)
        self._saved = position
        kept = [*self._steps()[-self._keep :], self._best()]
        for step in self._steps():
            if step not in kept:
                shutil.rmtree(self._path(step))

    def _steps(self) -> list[int]:
        return list_steps(self._folder)

    def _path(self, step: int) -> Path:
        return next(path for path in self._folder.iterdir() if step_of(path) == step)


def step_of(path: Path) -> int | None:
    """Return the step of a checkpoint's folder; None for anything else."""
    match = re.fullmatch(r"step-(\d{6,12})", path.name)
    return int(match[1]) if match and path.is_dir() else None


def list_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(step for path in folder.iterdir() if (step := step_of(path)) is not None)


def newest_whole(folder: Path, report: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """Return the newest checkpoint in `folder` whose every byte is as it was written; None when there are none at all.

    Args:
        report: receives a line for each that is damaged.

    Raises:
        PrerlkitError: there are some and none is whole.
    """
    damaged = []
    for step in reversed(list_steps(folder)):
        path = next(p for p in folder.iterdir() if step_of(p) == step)
        try:
            found = Checkpoint.open(path)
        except Damaged as error:
            damaged.append(f"{path}: {error}")
            continue
        for text in damaged:
            report(f"damaged checkpoint {text}; resuming from {path.name}, the one before")
        return found
    if damaged:
        raise PrerlkitError(
            f"No checkpoint in {folder} is whole: " + "; ".join(damaged) + ".",
            "Restore a copy of one, or start from scratch with --overwrite.",
        )
    return None
