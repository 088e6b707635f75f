"""What a metric is, and what names of metrics have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True, slots=True)
class MetricChart:
    """How a report draws a metric.

    Attributes:
        place: among a report's charts, which are drawn in this order.
        id: a word, unique on the page.
        unit: of the axis, where it is not the metric's own.
        scale: what values are multiplied by for the axis.
        note: one sentence under the title.
    """

    place: int
    id: str
    title: str
    unit: str = ""
    scale: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of metrics.jsonl or of evaluations.jsonl.

    Attributes:
        name: a path such as `reward/mean`. A part in angle brackets varies: `time/probe/<name>`.
        meaning: for docs/metrics.md, in Markdown.
        unit: "" where it has none. A `share` is shown in per cent.
        better: the direction that is better with all else equal; "" where there is none.
        chart: its own chart in a report; None: drawn with the other metrics.
        label: a short word for tables, where the last part of the name does not do.
        optional: only some runs or steps have it.
        parts: all values of the part that varies, where they are known beforehand.
    """

    name: str
    meaning: str
    unit: str = ""
    better: Better = ""
    chart: MetricChart | None = None
    label: str = ""
    optional: bool = False
    parts: tuple[str, ...] = ()

    def of(self, part: str) -> str:
        """Return the name with `part` in the place of the part that varies."""
        return _VARYING.sub(lambda _: part, self.name, count=1)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it may have; only itself where the part that varies may be anything."""
        return tuple(map(self.of, self.parts)) or (self.name,)

    def matches(self, name: str) -> bool:
        """Return whether `name` is this metric's, whatever the part that varies is."""
        return re.fullmatch(".+".join(map(re.escape, _VARYING.split(self.name))), name) is not None

    @property
    def is_share(self) -> bool:
        return self.unit == "share"

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest value that it can have, by its unit; None where that is not known."""
        return _BOUNDS.get(self.unit)

    @property
    def repeatable(self) -> bool:
        """Whether two runs of one recipe and seed have the same values. Times and memory differ."""
        return not self.name.startswith(UNREPEATABLE)


_BOUNDS = {
    **dict.fromkeys(("share", "share of weight", "0 to 1"), (0.0, 1.0)),
    **dict.fromkeys(
        ("tokens", "s", "bytes", "steps", "draws", "groups", "prompts", "updates", "ratio", "per answer"),
        (0.0, math.inf),
    ),
}
_VARYING = re.compile(r"<\w+>")

UNREPEATABLE = ("time/", "memory/")
"""How the names of metrics begin that differ from run to run."""

OLD_NAMES: Mapping[str, str] = {"time/hand_over": "time/weight_sync"}
"""Names that earlier versions wrote, and today's: run folders of those versions stay readable."""


def with_current_names(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of metrics.jsonl with today's names in the place of earlier ones."""
    return {OLD_NAMES.get(name, name): value for name, value in line.items()}


def find(name: str, metrics: Iterable[Metric]) -> Metric | None:
    """Return the first of `metrics` that `name` belongs to."""
    return next((metric for metric in metrics if metric.matches(name)), None)
