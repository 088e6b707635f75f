"""A run's curves as a matplotlib figure: accuracy, reward, thoughts, KL and length by step. Needs matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prerlkit.evaluation.effect_words import THOUGHTS
from prerlkit.evaluation.result import values_of
from prerlkit.metrics.catalogue import (
    COMPLETION_LENGTH,
    EVAL_ACCURACY,
    EVAL_AVERAGE,
    EVAL_KL,
    EVAL_THOUGHTS,
    PASS_RATE,
    PROBE,
    REWARD,
)
from prerlkit.metrics.metric import Metric

if TYPE_CHECKING:
    from prerlkit.runs.run import Run

_PANEL = (4.6, 3.0)
"""Inches."""

Points = Sequence[tuple[float, float]]


class RunFigure(Figure):
    """A figure that a notebook shows without matplotlib's state, and without JavaScript."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Curve:
    """One line of a panel. `errors`: below and above each point. A panel with one curve needs no legend."""

    label: str
    points: Points
    style: str = "-"
    errors: tuple[Sequence[float], Sequence[float]] | None = None


def figure_of(run: Run) -> RunFigure:
    """Return the curves of `run`, one panel for each quantity that it recorded.

    Dashed lines mark where a stage begins. Points are evaluations on held-out prompts; accuracy has 95 % intervals.
    """
    panels = [(label, shown) for label, curves in _panels(run) if (shown := [c for c in curves if c.points])]
    columns = max(1, min(3, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure = RunFigure(figsize=(columns * _PANEL[0], rows * _PANEL[1]), layout="constrained")
    figure.suptitle(_plain(f"{run.name}, seed {run.seed}"))
    for place, (label, curves) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, place)
        for curve in curves:
            xs, ys = zip(*curve.points, strict=True)
            axes.errorbar(xs, ys, yerr=curve.errors, fmt=curve.style, capsize=3, label=curve.label)
        axes.set(xlabel="step", ylabel=label)
        if all(y >= 0 for curve in curves for _, y in curve.points):
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(curves) > 1:
            axes.legend(fontsize="small")
        _mark_stages(axes, run)
    return figure


def _panels(run: Run) -> Iterator[tuple[str, list[_Curve]]]:
    """Yield the label of each panel's vertical axis, with its unit, and the curves."""
    trained = _Curve("training completions", _steps(run, PASS_RATE.name, 100))
    yield "accuracy (%)", [trained, _held_out(run, EVAL_ACCURACY, "greedy"), _held_out(run, EVAL_AVERAGE, "samples")]
    yield "mean reward (0 to 1)", [_Curve("training", _steps(run, REWARD.name))]
    yield (
        "thoughts per held-out answer",
        [_Curve(kind, _evaluated(run, EVAL_THOUGHTS.of(kind)), "o--") for kind in THOUGHTS],
    )
    yield (
        "KL to the policy before the stage\n(nats per token)",
        [
            _Curve("training prompts", _steps(run, PROBE.of("drift/kl_stage"))),
            _Curve("held-out", _evaluated(run, EVAL_KL.name), "o"),
        ],
    )
    yield "completion length (tokens)", [_Curve("training", _steps(run, COMPLETION_LENGTH.name))]


def _mark_stages(axes: Axes, run: Run) -> None:
    """Draw a dashed line where a stage begins, with its name above the panel."""
    for number, stage in enumerate(run.stages):
        first = next(step["step"] for step in run.steps if step["stage"] == stage) - 0.5
        left, right = axes.get_xlim()
        axes.set_xlim(min(left, first), max(right, first))  # else a short run's name of a stage is far outside
        if number:
            axes.axvline(first, color="0.4", linestyle="--", linewidth=1)
        where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(_plain(stage), (first, 1), xytext=(2, 3), fontsize="small", color="0.35", **where)


def _steps(run: Run, name: str, scale: float = 1.0) -> Points:
    found = [(step["step"], step[name]) for step in run.steps if isinstance(step.get(name), int | float)]
    return [(step, scale * value) for step, value in found if math.isfinite(value)]


def _evaluated(run: Run, name: str) -> Points:
    return [(line["step"], values[name]) for line in run.evaluations if name in (values := values_of(line))]


def _held_out(run: Run, metric: Metric, label: str) -> _Curve:
    """Return the evaluations of an estimate, in per cent, with their intervals."""
    found = [(line["step"], values_of(line, bounds=True)) for line in run.evaluations]
    own = [(step, values) for step, values in found if metric.name in values]
    points = [(step, 100 * values[metric.name]) for step, values in own]
    # By rounding, the interval of equal values may end a bit beyond them, and matplotlib refuses a negative length.
    below = [max(0.0, 100 * (values[metric.name] - values[f"{metric.name}_low"])) for _, values in own]
    above = [max(0.0, 100 * (values[f"{metric.name}_high"] - values[metric.name])) for _, values in own]
    return _Curve(f"held-out, {label}", points, "o--", (below, above))


def _plain(text: str) -> str:
    """Return a name without what matplotlib takes for a formula."""
    return text.replace("$", r"\$")[:60]
