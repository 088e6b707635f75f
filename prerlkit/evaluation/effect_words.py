"""A stage's effect as text, the same on a terminal, in a log and on a page."""

from __future__ import annotations

from collections.abc import Sequence

from prerlkit.evaluation.stage_effect import BeforeAfter, StageEffect
from prerlkit.metrics.catalogue import (
    EVAL_ACCURACY,
    EVAL_AVERAGE,
    EVAL_LENGTH,
    EVAL_PASS_AT,
    EVAL_SAMPLE_LENGTH,
    EVAL_THOUGHTS,
)

THOUGHTS = ("reflection", "transition")
"""The kinds that the line shows: those that arXiv 2604.14142 reports."""

_NOTHING = "–"


def effect_line(effect: StageEffect) -> str:
    """Return `stage warmup, 20 steps: KL 0.074 nats/token · reflection ×5.1 (0.047 → 0.24 per answer) · …`.

    What is unknown is left out.
    """
    parts = [f"{name} {text}" for name, text in effect_cells(effect).items() if text != _NOTHING]
    steps = "1 step" if effect.steps == 1 else f"{effect.steps} steps"
    return f"stage {effect.stage}, {steps}: " + ("  ·  ".join(parts) or "nothing was measured")


def effect_cells(effect: StageEffect) -> dict[str, str]:
    """Return a stage's figures as text by their heading, `–` for what is unknown."""
    cells = {"KL": _NOTHING if effect.kl is None else f"{effect.kl:.3g} nats/token"}
    for kind in THOUGHTS:
        cells[kind] = _thoughts(effect.change(EVAL_THOUGHTS.of(kind)))
    average, k = effect.change(EVAL_AVERAGE.name), effect.samples or "k"
    if average.after is None:
        cells["greedy accuracy"] = _share(effect.change(EVAL_ACCURACY.name))
    else:
        cells[f"avg@{k}"] = _share(average)
    if most := most_pass_at(effect):
        cells[most.removeprefix("eval/")] = _share(effect.change(most))
    length = effect.change(EVAL_SAMPLE_LENGTH.name)
    cells["tokens"] = _arrow(length if length.after is not None else effect.change(EVAL_LENGTH.name), "{:.1f}")
    return cells


def effect_rows(effects: Sequence[StageEffect]) -> tuple[list[str], list[list[str]]]:
    """Return heading and rows of the table of what each stage did; the first column is the stage's name."""
    cells = [(effect.stage, effect_cells(effect)) for effect in effects]
    headings = list(dict.fromkeys(heading for _, own in cells for heading in own))
    rows = [[stage, *(own.get(heading, _NOTHING) for heading in headings)] for stage, own in cells]
    return ["stage", *headings], rows


def most_pass_at(effect: StageEffect) -> str:
    """Return the name of the evaluated pass@k with the largest k above 1, or ""."""
    names = [name for name in effect.changes if EVAL_PASS_AT.matches(name) and _k(name) > 1]
    return max(names, key=_k, default="")


def _k(name: str) -> int:
    return int(name.partition("@")[2])


def _thoughts(change: BeforeAfter) -> str:
    """`×5.1 (0.047 → 0.24 per answer)`; without × where there were none before."""
    arrow = _arrow(change, "{:.2g}")
    if arrow == _NOTHING or change.ratio is None:
        return arrow
    return f"×{change.ratio:.2g} ({arrow} per answer)"


def _share(change: BeforeAfter) -> str:
    arrow = _arrow(BeforeAfter(*(None if x is None else 100 * x for x in (change.before, change.after))), "{:.1f}")
    return arrow if arrow == _NOTHING else f"{arrow} %"


def _arrow(change: BeforeAfter, form: str) -> str:
    """`0.047 → 0.24`; only the second where there was no evaluation before."""
    if change.after is None:
        return _NOTHING
    after = form.format(change.after)
    return after if change.before is None else f"{form.format(change.before)} → {after}"
