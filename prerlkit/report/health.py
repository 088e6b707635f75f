"""When a run's health warnings held, and what they said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from prerlkit.metrics.catalogue import HEALTH
from prerlkit.recipe.output import Health
from prerlkit.runs.run import Run
from prerlkit.train.health import check

_PREFIX = HEALTH.of("")


@dataclass(frozen=True, slots=True)
class Held:
    """A condition that held from a step to a step of one stage.

    Attributes:
        now: whether it still held at the last step there is.
    """

    name: str
    stage: str
    first: int
    last: int
    now: bool
    message: str
    advice: str


def warnings(run: Run) -> list[Held]:
    """In the order in which they began. Messages are worked out again from the metrics, as the run did."""
    settings = _settings(run)
    found = []
    for stage in run.stages:
        steps = [step for step in run.steps if step["stage"] == stage]
        names = sorted({key for step in steps for key in step if key.startswith(_PREFIX)})
        for key in names:
            for begin, end in _spans(steps, key):
                said = _said(steps[: begin + 1], key.removeprefix(_PREFIX), settings)
                now = end == len(steps) - 1 and steps[end] is run.steps[-1]
                name = key.removeprefix(_PREFIX)
                found.append(Held(name, stage, steps[begin]["step"], steps[end]["step"], now, *said))
    return sorted(found, key=lambda held: held.first)


def _spans(steps: Sequence[Mapping[str, Any]], key: str) -> Iterator[tuple[int, int]]:
    """(first, last) indices of each unbroken stretch of steps that have the metric."""
    begin = None
    for n, step in enumerate(steps):
        if step.get(key):
            begin = n if begin is None else begin
        elif begin is not None:
            yield begin, n - 1
            begin = None
    if begin is not None:
        yield begin, len(steps) - 1


def _said(steps: Sequence[Mapping[str, Any]], name: str, settings: Health) -> tuple[str, str]:
    try:
        holding = {warned.name: warned for warned in check(steps, settings)}
    except KeyError:  # metrics of another version
        return "", ""
    return (holding[name].message, holding[name].advice) if name in holding else ("", "")


def _settings(run: Run) -> Health:
    try:
        return Health.model_validate(run.recipe.get("health") or {})
    except ValidationError:
        return Health()
