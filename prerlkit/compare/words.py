"""A comparison's numbers as text, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Callable

from prerlkit.compare.comparison import AtBudget, ByPrompt, Comparison
from prerlkit.compare.groups import RunGroup
from prerlkit.evaluation.repetitions import Contrast, Mean
from prerlkit.metrics.catalogue import CATALOGUE
from prerlkit.metrics.metric import find

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
