"""A dose curve as text: the table's heading and rows, the same on a terminal and on the page."""

from __future__ import annotations

from prerlkit.dose.curve import DoseCurve, DoseRow
from prerlkit.evaluation.effect_words import THOUGHTS


def head(curve: DoseCurve) -> list[str]:
    """Return the columns' headings."""
    k = curve.samples
    return [
        "rate",
        "steps",
        "KL, nats/token",
        *(f"{kind} ×" for kind in THOUGHTS),
        f"avg@{k} %",
        f"pass@{k} %",
        "tokens",
    ]


def rows(curve: DoseCurve) -> list[list[str]]:
    """Return the start, then each dose, then a line for each rate at which the policy collapsed."""
    found = [] if curve.start is None else [_cells(curve.start, curve, first=True)]
    found += [_cells(row, curve, first=False) for row in curve.rows]
    for rate, step in curve.collapsed.items():
        found.append([f"{rate:g}", f"{step}", "collapsed", *["–"] * (len(head(curve)) - 3)])
    return found


def _cells(row: DoseRow, curve: DoseCurve, *, first: bool) -> list[str]:
    counts = [_thoughts(kind, row, curve, first=first) for kind in THOUGHTS]
    average = f"{100 * row.average:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    best = "–" if row.best is None else f"{100 * row.best:.1f}"
    kl = "–" if row.kl is None else f"{row.kl:.3g}"
    return ["–" if first else f"{row.rate:g}", f"{row.step}", kl, *counts, average, best, f"{row.tokens:.1f}"]


def _thoughts(kind: str, row: DoseRow, curve: DoseCurve, *, first: bool) -> str:
    """`5.1 (0.24 per answer)`; of the start the count alone."""
    count = f"{row.thoughts.get(kind, 0.0):.2g} per answer"
    ratio = None if first or curve.start is None else row.ratio(kind, curve.start)
    return count if ratio is None else f"{ratio:.2g} ({count})"
