"""Curves as plain data: what a figure of a page draws, and the table that says the same in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Number = float | None
MOST_POINTS = 1000
"""A line with more is drawn by means of equal groups of its points. A 1,000-step run is drawn as it is."""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart.

    Attributes:
        name: in the legend and in tables.
        x, y: of equal length, x ascending; None is a gap.
        low, high: an interval around each y, drawn as a bar, or as a band where `smooth`; empty without one.
        look: `line`; `faint` is behind another line and has no legend entry; `points` are joined thinly.
        color: number of the colour, 0 to 7; lines of one run share it.
        group: what a reader switches on and off together, a run for instance.
        smooth: a reader may smooth it: it is of many noisy values.
        breaks: x at which a smoothed line begins again, ascending: means don't look across a switch of stages.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    look: Literal["line", "faint", "points"] = "line"
    color: int = 0
    group: str = ""
    smooth: bool = False
    breaks: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at `x`, where a stage begins for instance. With `color` it is one line's own."""

    x: float
    label: str = ""
    color: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure.

    Attributes:
        id: unique in the page, a word.
        unit: of y, shown behind the title.
        note: what it means, one sentence.
        x_label: of the horizontal axis.
        percent: y are shares, shown times 100.
        floor: the lowest value that the axis begins with at most; None leaves it to the data.
    """

    id: str
    title: str
    lines: tuple[ChartLine, ...]
    unit: str = ""
    note: str = ""
    x_label: str = "step"
    marks: tuple[Mark, ...] = ()
    percent: bool = False
    floor: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As page.js draws it: all lines on one x."""
        lines = [_thinned(line) for line in self.lines]
        xs = sorted({x for line in lines for x in line.x})
        return {
            "title": self.title,
            "unit": "%" if self.percent else self.unit,
            "xLabel": self.x_label,
            "percent": self.percent,
            "floor": self.floor,
            "x": [_short(x) for x in xs],
            "lines": [_line(line, xs) for line in lines],
            "marks": [{"x": mark.x, "label": mark.label, "color": mark.color} for mark in self.marks],
        }

    @property
    def thinned(self) -> bool:
        """Whether a line has more points than are drawn."""
        return any(len(line.x) > MOST_POINTS for line in self.lines)

    def rows(self, most: int = 24) -> tuple[list[str], list[list[str]]]:
        """Heading and rows of a table with at most about `most` of the points, for readers without JavaScript."""
        lines = [line for line in self.lines if line.look != "faint"]
        xs = sorted({x for line in lines for x in line.x})
        stride = max(1, -(-len(xs) // most))
        chosen = [x for n, x in enumerate(xs) if n % stride == 0 or n == len(xs) - 1]
        at = [dict(zip(line.x, zip(line.y, *_bounds(line), strict=True), strict=True)) for line in lines]
        rows = [[f"{x:g}", *(self._cell(values.get(x)) for values in at)] for x in chosen]
        return [self.x_label, *(line.name for line in lines)], rows

    def _cell(self, values: tuple[Number, ...] | None) -> str:
        if values is None or values[0] is None:
            return "–"
        shown = [self.show(value) for value in values if value is not None]
        return shown[0] if len(shown) < 3 else f"{shown[0]} [{shown[1]}, {shown[2]}]"

    def show(self, value: float) -> str:
        """A value of y as text, without its unit."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.4g}"


def _bounds(line: ChartLine) -> tuple[Sequence[Number], Sequence[Number]]:
    nothing = (None,) * len(line.x)
    return line.low or nothing, line.high or nothing


def _line(line: ChartLine, xs: Sequence[float]) -> dict[str, Any]:
    values: dict[str, Any] = {"name": line.name, "look": line.look, "color": line.color, "group": line.group}
    for key, own in (("y", line.y), ("low", line.low), ("high", line.high)):
        if own:
            by_x = dict(zip(line.x, own, strict=True))
            values[key] = [_short(by_x.get(x)) for x in xs]
    values.setdefault("y", [None] * len(xs))
    if line.smooth:
        values |= {"smooth": True, "breaks": list(line.breaks)}
    return values


def _short(value: Number) -> Number:
    """Five significant digits: more can't be seen, and bytes count. Not a number: a gap."""
    if value is None or value - value != 0:
        return None
    rounded = float(f"{value:.5g}") if abs(value) < 1e5 else round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def _thinned(line: ChartLine) -> ChartLine:
    """Means of equal groups of points, at most MOST_POINTS of them. Intervals are of few points and stay."""
    size = -(-len(line.x) // MOST_POINTS)
    if size <= 1 or line.low:
        return line
    groups = range(0, len(line.x), size)
    xs = [_mean(line.x[at : at + size]) or 0.0 for at in groups]
    return replace(line, x=xs, y=[_mean(line.y[at : at + size]) for at in groups])


def _mean(values: Sequence[Number]) -> Number:
    numbers = [value for value in values if value is not None and value - value == 0]
    return sum(numbers) / len(numbers) if numbers else None
