"""Notices a run that became slow for a reason outside it, such as another program on the same cores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from prerlkit.metrics.catalogue import STEP_SECONDS, TOKENS_GENERATED
from prerlkit.runs.files import resume_command

_FIRST = 4
"""Steps of a stage whose median is the comparison. The very first one compiles and fills caches."""
_LAST = 3
_SLOWER = 3.0


class Pace:
    """Receives each step's metrics and returns a line when steps have become several times slower for each token."""

    def __init__(self) -> None:
        self._stage = ""
        self._seconds: list[float] = []
        self._told = False

    def examine(self, stage: str, metrics: Mapping[str, float], folder: Path) -> str:
        """Return the line once a stage, "" otherwise. `folder` is the run's."""
        if stage != self._stage:
            self._stage, self._seconds, self._told = stage, [], False
        tokens = metrics.get(TOKENS_GENERATED.name, 0.0)
        if tokens <= 0:
            return ""
        self._seconds.append(metrics[STEP_SECONDS.name] / tokens)
        if self._told or len(self._seconds) < _FIRST + _LAST:
            return ""
        times = median(self._seconds[-_LAST:]) / median(self._seconds[:_FIRST])
        if times < _SLOWER:
            return ""
        self._told = True
        return (
            f"steps take {times:.1f} times as long for each token as at this stage's start. Is another program using "
            f"the same cores or card? Nothing is lost: Ctrl-C saves, and `{resume_command(folder)}` continues later"
        )
