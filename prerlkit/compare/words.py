"""A comparison's numbers as text, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from prerlkit.evaluation.repetitions import Contrast, Mean
from prerlkit.metrics.catalogue import CATALOGUE
from prerlkit.metrics.metric import find
from prerlkit.page.table import html_table
from prerlkit.page.text import visible

if TYPE_CHECKING:
    from prerlkit.compare.by_prompt import ByPrompt
    from prerlkit.compare.comparison import AtBudget, Comparison, MetricComparison
    from prerlkit.compare.groups import RunGroup

NOTHING = "–"
AXIS_WORDS = {"steps": "steps", "tokens": "sampled tokens", "seconds": "seconds"}


def is_share(metric: str) -> bool:
    """Whether a metric is shown in per cent."""
    known = find(metric, CATALOGUE)
    return known is not None and known.is_share


def budget_text(at: AtBudget) -> str:
    """`equal steps (30)`."""
    return f"equal {AXIS_WORDS[at.axis]} ({amount(at.budget)})"


def amount(value: float) -> str:
    """A count or a time with no digits that say nothing."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def mean_text(metric: str, value: Mean | None, between: int = 0) -> str:
    """`87.0 % [80.1, 93.9]`; `~` in front where some of it lies between two evaluations."""
    if value is None:
        return NOTHING
    number, unit = _scale(metric)
    text = f"{'~' if between else ''}{number(value.value)}{unit}"
    return text + (f" [{number(value.interval[0])}, {number(value.interval[1])}]" if value.interval else "")


def contrast_text(metric: str, value: Contrast | None) -> str:
    """`+4.0 [−1.2, 9.2] p 0.25`; points where the metric is a share."""
    if value is None:
        return NOTHING
    number, unit = _scale(metric)
    text = f"{'+' if value.value >= 0 else ''}{number(value.value)}{' points' if unit else ''}"
    if value.interval:
        text += f" [{number(value.interval[0])}, {number(value.interval[1])}]"
    if value.p is not None:
        text += f"  p {p_text(value.p)}"
    return text


def p_text(p: float) -> str:
    return f"{p:.3g}" if p >= 0.0001 else "< 0.0001"


def by_prompt_text(one: ByPrompt) -> str:
    """One line: how many prompts got better and worse."""
    estimate = one.difference.estimate
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    seeds = f"seed {one.seeds[0]}" if len(one.seeds) == 1 else f"{len(one.seeds)} seeds"
    return (
        f"{value:+.1f} points [{low:.1f}, {high:.1f}] over {one.difference.problems} prompts, {one.difference.better} "
        f"better, {one.difference.worse} worse (step {one.step}, {seeds})"
    )


def cost_text(name: str, value: Mean) -> str:
    """A cost; memory in GiB."""
    if name == "peak memory":
        return f"{value.value / 2**30:.2f} GiB"
    spread = f" [{amount(value.interval[0])}, {amount(value.interval[1])}]" if value.interval else ""
    return amount(value.value) + (spread if value.interval and value.interval[0] < value.interval[1] else "")


def metric_rows(found: Comparison, metric: MetricComparison) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of a metric's table: means by group, then the differences to the baseline."""
    labels = [own.label for own in found.groups if any(own.label in at.means for at in metric.budgets)]
    rows = [
        [label, *(mean_text(metric.name, at.means.get(label), at.between.get(label, 0)) for at in metric.budgets)]
        for label in labels
    ]
    for label in labels:
        if label != found.baseline:
            contrasts = (contrast_text(metric.name, at.contrasts.get(label)) for at in metric.budgets)
            rows.append([f"{label} minus {found.baseline}", *contrasts])
    return ["group", *map(budget_text, metric.budgets)], rows


def html_of(found: Comparison) -> str:
    """Return a comparison for notebooks: warnings first, then a table for each metric, then the notes."""
    parts = [f"<p><b>{warning_word(found, text)}:</b> {escape(visible(text))}</p>" for text in found.warnings]
    parts += [html_table(f"{one.name}, mean over seeds [95 %]", *metric_rows(found, one)) for one in found.metrics]
    notes = "".join(f"<li>{escape(visible(text))}</li>" for text in found.notes)
    return "".join([*parts, f"<ul>{notes}</ul>" if notes else ""])


def warning_word(found: Comparison, text: str) -> str:
    """Return what comes in front of a warning."""
    return "Not comparable" if text in found.incomparable else "Compare with care"


def group_rows(found: Comparison) -> list[tuple[str, str, str, str]]:
    """Label, completed runs, their seeds, and what was left out."""
    return [(own.label, str(len(own.runs)), _seeds(own), _left_out(own)) for own in found.groups]


def _seeds(own: RunGroup) -> str:
    return ", ".join(str(run.seed) for run in own.runs) or NOTHING


def _left_out(own: RunGroup) -> str:
    return "; ".join(f"seed {o.run.seed} {o.why} ({o.run.folder})" for o in own.left_out) or NOTHING


def _scale(metric: str) -> tuple[Callable[[float], str], str]:
    """How a value of the metric is written, and its unit."""
    if is_share(metric):
        return (lambda x: f"{100 * x:.1f}"), " %"
    return (lambda x: f"{x:.4g}"), ""
