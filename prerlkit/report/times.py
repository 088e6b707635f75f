"""Where the time of a run went, by stage and by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prerlkit.metrics.catalogue import OF_STEPS, ROLLOUT_SECONDS, STEP_SECONDS, WEIGHT_SYNC_SECONDS
from prerlkit.metrics.metric import find
from prerlkit.report.labels import duration
from prerlkit.runs.run import Run

_PHASES = "time/"


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one run.

    Attributes:
        phases: names of what a step spends time on.
        stages: (name, steps, seconds of each phase).
        evaluation: of all evaluations.
        rest: the remaining wall time: checkpoints, writing. None while the run has no summary.
    """

    phases: tuple[str, ...]
    stages: tuple[tuple[str, int, tuple[float, ...]], ...]
    evaluation: float
    rest: float | None

    @property
    def total(self) -> float:
        return sum(sum(own) for _, _, own in self.stages) + self.evaluation + (self.rest or 0.0)


def times(run: Run) -> Times:
    """Sums over each stage's steps of every metric under `time/`."""
    keys = [key for key in _phases(run.steps) if any(step.get(key) for step in run.steps)]
    stages = []
    for name in run.stages:
        own = [step for step in run.steps if step["stage"] == name]
        stages.append((name, len(own), tuple(sum(_seconds(step, key) for step in own) for key in keys)))
    evaluation = sum(e.get("seconds", 0.0) for e in run.evaluations)
    known = sum(sum(seconds) for _, _, seconds in stages) + evaluation
    wall = run.summary.get("wall_seconds")
    rest = max(0.0, wall - known) if wall is not None and run.state != "running" else None
    return Times(tuple(map(_label, keys)), tuple(stages), evaluation, rest)


def table_of(one: Times) -> tuple[list[str], list[list[str]]]:
    """Heading and rows: a stage a row, then evaluations and the rest."""
    empty = [""] * len(one.phases)
    rows = [
        [name, str(steps), *map(duration, own), duration(sum(own)), duration(sum(own) / steps), _share(sum(own), one)]
        for name, steps, own in one.stages
    ]
    if one.evaluation > 0:
        rows.append(["evaluations", "", *empty, duration(one.evaluation), "", _share(one.evaluation, one)])
    if one.rest is not None:
        rows.append(["the rest: checkpoints, writing", "", *empty, duration(one.rest), "", _share(one.rest, one)])
    return ["stage", "steps", *one.phases, "in all", "a step", "share"], rows


def _share(seconds: float, one: Times) -> str:
    return f"{100 * seconds / one.total:.0f} %"


def _phases(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {key: None for step in steps for key in step if key.startswith(_PHASES) and key != STEP_SECONDS.name}
    return list(found)


def _label(key: str) -> str:
    metric = find(key, OF_STEPS)
    return (metric.label if metric else "") or key.removeprefix(_PHASES)


def _seconds(step: Mapping[str, Any], key: str) -> float:
    """Return the seconds of a phase alone: the weight sync is a part of the rollout's time (docs/metrics.md)."""
    inside = float(step.get(WEIGHT_SYNC_SECONDS.name, 0.0)) if key == ROLLOUT_SECONDS.name else 0.0
    return max(0.0, float(step.get(key, 0.0)) - inside)
