"""A run's metrics as curves: the well-known ones first, probes by themselves, then whatever else was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prerlkit.metrics import catalogue
from prerlkit.metrics.metric import Metric
from prerlkit.page.chart import Chart, ChartLine, Mark
from prerlkit.report.learned import estimate
from prerlkit.runs.run import Run

Value = Callable[[Mapping[str, Any]], float | None]

_PROBES = catalogue.PROBE.of("")
SMOOTH_FROM = 60
"""A run with more steps gets a bold mean over its steps; fewer are read as they are."""


@dataclass(frozen=True, slots=True)
class MetricCurve:
    """One chart: where its values are in a step, and how they are read."""

    id: str
    title: str
    value: Value
    unit: str = ""
    note: str = ""
    percent: bool = False
    floor: float | None = 0.0


def of_metric(metric: Metric) -> Value:
    """Return what reads a metric from a step, in the unit of its chart; None in a step that lacks it."""
    return _value(metric.name, metric.chart.scale if metric.chart else 1.0)


def _value(name: str, scale: float = 1.0) -> Value:
    def value(step: Mapping[str, Any]) -> float | None:
        found = step.get(name)
        return found * scale if isinstance(found, int | float) else None

    return value


def rate(amount: Metric, seconds: Metric) -> Value:
    """`amount` a second; None in a step that spent no time on it."""

    def value(step: Mapping[str, Any]) -> float | None:
        took = step.get(seconds.name) or 0.0
        return step.get(amount.name, 0.0) / took if took > 0 and step.get(amount.name) else None

    return value


_CHARTED = {metric.name: (metric, metric.chart) for metric in catalogue.OF_STEPS if metric.chart}
_CURVES = {
    **{
        chart.place: MetricCurve(
            chart.id, chart.title, of_metric(metric), chart.unit, chart.note, percent=metric.is_share
        )
        for metric, chart in _CHARTED.values()
    },
    8: MetricCurve(
        "rollout_speed", "Rollout speed", rate(catalogue.TOKENS_GENERATED, catalogue.ROLLOUT_SECONDS), "tokens/s"
    ),
    9: MetricCurve(
        "train_speed", "Training speed", rate(catalogue.TOKENS_TRAINED, catalogue.TRAIN_SECONDS), "tokens/s"
    ),
}
KNOWN = tuple(_CURVES[place] for place in sorted(_CURVES))
"""The charts of the catalogue and the two speeds, by their place."""
_SHOWN = {catalogue.STEP.name, catalogue.STAGE.name, *_CHARTED}


def known(runs: Sequence[Run], names: Sequence[str]) -> tuple[Chart, ...]:
    """The charts that every report has, as far as their metrics were recorded."""
    found = []
    for curve in KNOWN:
        chart = _chart(curve, runs, names)
        held_out = _held_out_chart(runs, names) if curve.id == "accuracy" and len(runs) > 1 else None
        found += [one for one in (held_out, chart) if one]
    return tuple(found)


def probes(runs: Sequence[Run], names: Sequence[str]) -> tuple[Chart, ...]:
    """A chart for each metric under `probe/`, whatever it is called."""
    found = [name for name in _recorded(runs) if name.startswith(_PROBES)]
    charts = (_chart(_generic(name, name.removeprefix(_PROBES)), runs, names) for name in found)
    return tuple(chart for chart in charts if chart)


def others(runs: Sequence[Run], names: Sequence[str]) -> tuple[tuple[Chart, ...], dict[str, float]]:
    """Charts of all other metrics but times and health, and those that never changed, with their value."""
    hidden = (_PROBES, "time/", catalogue.HEALTH.of(""), catalogue.STAGE_KL.name)
    found = [name for name in _recorded(runs) if name not in _SHOWN and not name.startswith(hidden)]
    values = {name: {step[name] for run in runs for step in run.steps if name in step} for name in found}
    constant = {name: float(next(iter(seen))) for name, seen in values.items() if len(seen) == 1}
    charts = [_chart(_generic(name, name), runs, names) for name in found if name not in constant]
    return tuple(chart for chart in charts if chart), constant


def smoothing(runs: Sequence[Run]) -> int:
    """Steps of the bold mean, of the longest run; 1 where none is smoothed."""
    return max((_window(run) for run in runs), default=1)


def _recorded(runs: Sequence[Run]) -> list[str]:
    """Names of all numbers in the runs' metrics, in order of their first appearance."""
    numbers = {
        name: None
        for run in runs
        for step in run.steps
        for name, value in step.items()
        if isinstance(value, int | float)
    }
    return list(numbers)


def _generic(name: str, title: str) -> MetricCurve:
    word = "metric-" + "".join(c if c.isalnum() else f"-{ord(c):x}-" for c in name)
    return MetricCurve(word, title, _value(name), floor=None)


def _chart(curve: MetricCurve, runs: Sequence[Run], names: Sequence[str]) -> Chart | None:
    lines = [line for n, run in enumerate(runs) for line in _lines(curve, run, names[n], n, len(runs) > 1)]
    if not any(value is not None for line in lines for value in line.y):
        return None
    several = len(runs) > 1 and curve.id == "accuracy"
    return Chart(
        curve.id,
        "Training accuracy" if several else curve.title,
        tuple(lines),
        unit=curve.unit,
        note="Training completions that passed." if several else curve.note,
        marks=marks(runs),
        percent=curve.percent,
        floor=curve.floor,
    )


def _lines(curve: MetricCurve, run: Run, name: str, n: int, several: bool) -> Iterator[ChartLine]:
    group = name if several else ""
    label = name if several else "training" if curve.id == "accuracy" else curve.title.lower()
    found = [(step, value) for step in run.steps if (value := curve.value(step)) is not None]
    xs, ys = [step["step"] for step, _ in found], [value for _, value in found]
    window = _window(run)
    if window > 1 and found:
        yield ChartLine(f"{label}, each step", xs, ys, look="faint", color=n, group=group)
        ys = _means(ys, [step["stage"] for step, _ in found], window)
    if found:
        breaks = [x for x, _ in _begins(run)[1:]]
        yield ChartLine(label, xs, ys, color=n, group=group, smooth=True, breaks=breaks)
    if curve.id == "accuracy" and not several:
        yield from _held_out(run, "held-out ", 1, "")


def _held_out_chart(runs: Sequence[Run], names: Sequence[str]) -> Chart | None:
    """Evaluations of several runs, by themselves: with the training's lines in it one would see nothing."""
    lines = [
        line
        for n, (run, name) in enumerate(zip(runs, names, strict=True))
        for line in _held_out(run, f"{name}, ", n, name)
    ]
    note = "With 95 % intervals."
    title = "Held-out accuracy"
    chart = Chart("held_out", title, tuple(lines), note=note, marks=marks(runs), percent=True, floor=0.0)
    return chart if lines else None


def _held_out(run: Run, prefix: str, color: int, group: str) -> Iterator[ChartLine]:
    for key, label in (("accuracy", "greedy"), ("average", "avg@k")):
        found = [(e.get("step", 0), value) for e in run.evaluations if (value := estimate(e.get(key)))]
        by_step = dict(sorted(found, key=lambda item: item[0]))  # the last of several after one step
        values = list(by_step.values())
        if values:
            bounds = ([v.low for v in values], [v.high for v in values])
            xs, ys = list(by_step), [v.value for v in values]
            yield ChartLine(f"{prefix}{label}", xs, ys, *bounds, look="points", color=color, group=group)
            color = color if group else color + 1


def marks(runs: Sequence[Run]) -> tuple[Mark, ...]:
    """Where stages begin: named where all runs agree, else in the colour of the run, if it is one's alone."""
    begins = [_begins(run) for run in runs]
    if all(one == begins[0] for one in begins):
        return tuple(Mark(x, name) for x, name in begins[0])
    who: dict[float, list[int]] = {}
    for n, one in enumerate(begins):
        for x, _ in one[1:]:
            who.setdefault(x, []).append(n)
    return tuple(Mark(x, "", own[0] if len(own) == 1 else None) for x, own in sorted(who.items()))


def _begins(run: Run) -> list[tuple[float, str]]:
    """(half a step before its first one, name) of each stage."""
    first: dict[str, float] = {}
    for step in run.steps:
        first.setdefault(step["stage"], step["step"] - 0.5)
    return [(x, name) for name, x in first.items()]


def _window(run: Run) -> int:
    return 1 if len(run.steps) <= SMOOTH_FROM else max(5, round(len(run.steps) / 50))


def _means(values: Sequence[float], stages: Sequence[str], window: int) -> list[float]:
    """Of the last `window` values of the same stage, at each: a mean never looks across a switch."""
    means, begin, total = [], 0, 0.0
    for n, value in enumerate(values):
        if n and stages[n] != stages[n - 1]:
            begin, total = n, 0.0
        total += value
        if n - begin >= window:
            total -= values[begin]
            begin += 1
        means.append(total / (n - begin + 1))
    return means
