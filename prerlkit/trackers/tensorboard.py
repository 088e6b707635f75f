"""TensorBoard: event files in the run folder's `tensorboard/`. By tensorboard's own writer, which needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prerlkit.trackers.protocol import Start


class TensorBoard:
    """A `Tracker` on files."""

    def __init__(self, start: Start) -> None:
        from tensorboard.summary import Writer

        self._writer = Writer(str(Path(start.folder) / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step=step)
        self._writer.flush()  # a step is minutes of work; a killed run should not lose its last ones

    def close(self, failed: bool) -> None:
        self._writer.close()
