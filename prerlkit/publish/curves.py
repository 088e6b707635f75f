"""A run's curves as one picture for its model card."""

from __future__ import annotations

import io

from prerlkit.metrics.catalogue import COMPLETION_LENGTH, ENTROPY, PASS_RATE
from prerlkit.runs.trained import TrainedRun

_PANELS = (
    (PASS_RATE, "completions that passed"),
    (ENTROPY, "entropy, nats a token"),
    (COMPLETION_LENGTH, "tokens a completion"),
)


def picture(run: TrainedRun) -> bytes | None:
    """Return a PNG of the training curves, with held-out accuracy as points; None without matplotlib or steps."""
    steps = run.steps
    if not steps:
        return None
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for number, (metric, title) in enumerate(_PANELS, 1):
        axes = figure.add_subplot(1, len(_PANELS), number)
        for stage in dict.fromkeys(line["stage"] for line in steps):
            own = [line for line in steps if line["stage"] == stage and metric.name in line]
            axes.plot([line["step"] for line in own], [line[metric.name] for line in own], label=_plain(stage))
        if metric is PASS_RATE and (points := accuracies(run)):
            axes.plot(*zip(*points, strict=True), "ko", label="held-out accuracy")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def _plain(stage: str) -> str:
    """Return a name without characters that matplotlib reads as a formula or omits from a legend."""
    return stage.replace("$", r"\$").lstrip("_")[:60] or "stage"


def accuracies(run: TrainedRun) -> list[tuple[int, float]]:
    """Return (step, greedy accuracy) of every evaluation that has one."""
    return [(e["step"], e["accuracy"]["value"]) for e in run.evaluations if e.get("accuracy")]
