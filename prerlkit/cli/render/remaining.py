"""How long the rest of a run takes: all stages with their steps and evaluations, from the times of those seen."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import fmean

from prerlkit.metrics.catalogue import PROBES_SECONDS, STEP_SECONDS
from prerlkit.recipe.schema import Recipe
from prerlkit.types import StepRecord

_SEEN = 20
"""Steps that the mean is taken over: completions become longer or shorter during a run."""


class Remaining:
    """Estimate of the remaining time of a run.

    The estimate assumes that a step of a later stage takes as long as a step of the current stage, and an evaluation as
    long as the mean of the evaluations so far. A stage that stops early ends before the estimate.
    """

    def __init__(self, recipe: Recipe, clock: Callable[[], float] = time.monotonic) -> None:
        self._recipe = recipe
        self._clock = clock
        self._stage = 0
        self._done = 0
        self._steps: deque[float] = deque(maxlen=_SEEN)
        self._evaluations: list[float] = []
        self._counted_at = 0.0

    def begin_stage(self, name: str, done: int) -> None:
        self._stage = [stage.name for stage in self._recipe.stages].index(name)
        self._done = done
        self._steps.clear()

    def add_step(self, record: StepRecord, done: int) -> None:
        metrics = record.metrics
        self._steps.append(metrics[STEP_SECONDS.name] + metrics.get(PROBES_SECONDS.name, 0.0))
        self._done, self._counted_at = done, self._clock()

    def add_evaluation(self, seconds: float) -> None:
        """Take in an evaluation that has ended: its time is behind the run."""
        self._evaluations.append(seconds)
        self._counted_at += seconds

    def line(self) -> str:
        """Return what to print; nothing before the first step of a stage, or while more than the estimate is over."""
        if not self._steps:
            return ""
        stages = self._recipe.stages[self._stage :]
        steps = sum(stage.steps for stage in stages) - self._done
        evaluations = self._evaluations_left()
        each = fmean(self._evaluations) if self._evaluations else 0.0
        left = steps * fmean(self._steps) + evaluations * each - (self._clock() - self._counted_at)
        if left <= 0:
            return ""
        unknown = " and the evaluations" if evaluations and not self._evaluations else ""
        return f"about {_duration(left)}{unknown}"

    def _evaluations_left(self) -> int:
        """Evaluations after the steps that are done: within stages, between them and after the last."""
        evaluation, stages = self._recipe.evaluation, self._recipe.stages
        count = 0
        for index, stage in enumerate(stages[self._stage :], self._stage):
            done = self._done if index == self._stage else 0
            if evaluation.every:
                count += max(0, (stage.steps - 1) // evaluation.every - done // evaluation.every)
            count += ("after" if index == len(stages) - 1 else "between") in evaluation.when
        return count


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours else f"{minutes} min"
