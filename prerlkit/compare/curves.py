"""A group's mean with its interval along an axis, as far as all of its runs go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prerlkit.compare.groups import RunGroup
from prerlkit.compare.series import Axis, Series, bounds_of
from prerlkit.evaluation.repetitions import Bounds, t_interval

_POINTS = 60


@dataclass(frozen=True, slots=True)
class MeanLine:
    """One group. `low` and `high` are empty for a single run. `joined` as in `Series`."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    joined: bool = False


@dataclass(frozen=True, slots=True)
class MeanCurve:
    """All groups on one axis."""

    axis: Axis
    lines: tuple[MeanLine, ...]


def curves(
    name: str, axis: Axis, groups: Sequence[RunGroup], series: Mapping[int, Mapping[str, Series]], window: int
) -> MeanCurve:
    """The curve of one metric; groups without it are absent."""
    lines = []
    for own in groups:
        runs = [found for run in own.runs if (found := series[id(run)].get(name))]
        if line := _line(own.label, runs, axis, window, bounds_of(name)):
            lines.append(line)
    return MeanCurve(axis, tuple(lines))


def _line(label: str, runs: Sequence[Series], axis: Axis, window: int, bounds: Bounds | None) -> MeanLine | None:
    if not runs:
        return None
    start = max(run.at[axis][0] for run in runs)
    end = min(run.at[axis][-1] for run in runs)
    measured = sorted({x for run in runs for x in run.at[axis] if start <= x <= end})
    xs = measured if len(measured) <= _POINTS else [start + (end - start) * i / (_POINTS - 1) for i in range(_POINTS)]
    points = []
    for x in xs:
        values = [found.value for run in runs if (found := run.value_at(axis, x, window))]
        if len(values) == len(runs):
            points.append((x, values))
    if not points:
        return None
    spread = [t_interval(values, bounds) for _, values in points] if len(runs) > 1 else []
    return MeanLine(
        label,
        tuple(x for x, _ in points),
        tuple(sum(values) / len(values) for _, values in points),
        tuple(low for low, _ in spread),
        tuple(high for _, high in spread),
        all(run.joined for run in runs),
    )
