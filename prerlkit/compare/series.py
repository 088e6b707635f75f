"""One metric of one run against what it cost so far: steps, tokens and seconds."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prerlkit.evaluation.repetitions import Bounds
from prerlkit.evaluation.result import values_of
from prerlkit.metrics.catalogue import CATALOGUE, HEALTH, STAGE_KL, STEP, STEP_SECONDS, TOKENS_GENERATED
from prerlkit.metrics.metric import find
from prerlkit.runs.run import Run

Axis = Literal["steps", "tokens", "seconds"]
AXES: tuple[Axis, ...] = ("steps", "tokens", "seconds")
"""What may be equal. tokens: sampled ones, the budget of rollouts. seconds: Σ time/step, so without loading,
evaluations and checkpoints: those measure a run, they don't make it."""

_COSTS: Mapping[Axis, Callable[[Mapping[str, Any]], float]] = {
    "steps": lambda step: 1.0,
    "tokens": lambda step: float(step.get(TOKENS_GENERATED.name, 0)),
    "seconds": lambda step: float(step.get(STEP_SECONDS.name, 0)),
}
_NO_SERIES = (STEP.name, STAGE_KL.name)
"""Numbers of a step that no curve is made of: the KL at each stage's end is to another policy each time."""
_SLACK = 1e-9  # relative: sums of times differ by rounding


@dataclass(frozen=True, slots=True)
class Value:
    """A metric at a budget. `between`: it lies between two measured points, on the line that joins them."""

    value: float
    between: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Values in order, and where the run was on each axis when it had them.

    Attributes:
        joined: evaluations, which are few and exact: a line joins them. Otherwise values of single steps, which are
            many and noisy: the mean of the last ones is taken.
    """

    at: Mapping[Axis, tuple[float, ...]]
    values: tuple[float, ...]
    joined: bool

    def value_at(self, axis: Axis, budget: float, window: int) -> Value | None:
        """The metric when `budget` was spent; None before its first point, and for evaluations behind the last one.

        Args:
            window: steps that are averaged, for values of single steps.
        """
        places = self.at[axis]
        known = bisect.bisect_right(places, budget * (1 + _SLACK))
        if not known:
            return None
        if not self.joined:
            last = self.values[max(0, known - window) : known]
            return Value(sum(last) / len(last))
        left = places[known - 1]
        if budget - left <= _SLACK * max(1.0, abs(budget)):
            return Value(self.values[known - 1])
        if known == len(places):
            return None
        share = (budget - left) / (places[known] - left)
        return Value(self.values[known - 1] + share * (self.values[known] - self.values[known - 1]), between=True)


def positions(run: Run) -> dict[Axis, tuple[float, ...]]:
    """What the run had cost before its first step (0), after it, after the second, and so on."""
    return {axis: tuple(itertools.accumulate(map(cost, run.steps), initial=0.0)) for axis, cost in _COSTS.items()}


def series_of(run: Run) -> dict[str, Series]:
    """Every metric of a run by its name: those of metrics.jsonl, and those of evaluations under `eval/`."""
    costs = positions(run)
    points: dict[str, list[tuple[int, float]]] = {}
    for number, step in enumerate(run.steps, 1):
        for name, value in step.items():
            if name not in _NO_SERIES and _is_number(value) and not HEALTH.matches(name):
                points.setdefault(name, []).append((number, float(value)))
    of_steps = set(points)
    for line in run.evaluations:
        number = int(line["step"])
        for name, value in values_of(line).items():
            own = points.setdefault(name, [])
            if number <= len(run.steps) and _is_number(value) and not (own and own[-1][0] >= number):
                own.append((number, value))
    return {
        name: Series(
            {axis: tuple(costs[axis][number] for number, _ in own) for axis in AXES},
            tuple(value for _, value in own),
            joined=name not in of_steps,
        )
        for name, own in points.items()
        if own
    }


def bounds_of(metric: str) -> Bounds | None:
    """Return the least and the greatest value that the metric can have; None where that is not known."""
    known = find(metric, CATALOGUE)
    return known.bounds if known else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
