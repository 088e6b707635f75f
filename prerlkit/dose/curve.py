"""A dose curve read from its runs: one row for each rate and number of steps, and the dose that the rule proposes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.evaluation.effect_words import THOUGHTS
from prerlkit.runs.run import Run, reading_runs

KL_RANGE = (0.02, 0.2)
"""Nats a token, of the policy to the one that the stage began with. Ours: the manipulation check of the laboratory."""
_MIDDLE = math.sqrt(KL_RANGE[0] * KL_RANGE[1])


@dataclass(frozen=True, slots=True)
class DoseRow:
    """The policy after so many steps at one rate, held-out.

    Attributes:
        kl: to the policy that the stage began with, nats a token; None where it was not measured.
        thoughts: by kind, for each sample.
        average, low, high: avg@k with its 95 % interval.
        best: pass@k of the largest k.
        tokens: mean length of a sample.
    """

    rate: float
    step: int
    kl: float | None
    thoughts: Mapping[str, float]
    average: float
    low: float
    high: float
    best: float | None
    tokens: float

    def ratio(self, kind: str, start: DoseRow) -> float | None:
        """Return the thoughts of a kind as a multiple of the start's; None where the start has none."""
        before = start.thoughts.get(kind, 0.0)
        return self.thoughts.get(kind, 0.0) / before if before else None


@dataclass(frozen=True, slots=True)
class DoseCurve:
    """What the runs of a dose curve have recorded so far.

    Attributes:
        stage: the name of the stage.
        start: the policy before the first step; None where it was not evaluated yet.
        rows: by rate, then by step.
        collapsed: by rate, the step after which the guard ended the run.
    """

    stage: str
    samples: int
    start: DoseRow | None
    rows: tuple[DoseRow, ...]
    collapsed: Mapping[float, int]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The dose that the rule proposes, or None, with the reason in words."""

    row: DoseRow | None
    why: str


@reading_runs()
def read_curve(folders: Mapping[float, Path]) -> DoseCurve:
    """Return the curve of the runs in `folders`, by their rate. A run that has not begun is left out."""
    stage, samples, start, rows, collapsed = "", 0, None, list[DoseRow](), dict[float, int]()
    for rate, folder in sorted(folders.items()):
        if not (folder / "recipe.yaml").is_file():
            continue
        run = Run.open(folder)
        stage = str(run.recipe["stages"][0]["name"])
        restored = next((s["restored"] for s in run.summary.get("stages", ()) if "restored" in s), None)
        if restored is not None:
            collapsed[rate] = len(run.steps)
        found: dict[int, DoseRow] = {}
        for line in run.evaluations:
            samples = int(line.get("samples", samples))
            row = _row(rate, line)
            if line["name"] == "before":
                start = row
            elif restored is None or not str(line["name"]).startswith("after "):  # after a collapse: another's policy
                found[row.step] = row
        rows += [found[step] for step in sorted(found)]
    return DoseCurve(stage, samples, start, tuple(rows), collapsed)


def propose(curve: DoseCurve) -> Proposal:
    """Return the dose with the most thoughts whose KL is in `KL_RANGE` and whose accuracy is kept.

    Thoughts are reflection and transition for each sample. Accuracy is kept when avg@k is not below the 95 % interval
    of the start. Without any thoughts, the KL nearest to the middle of the range (in logarithm) is taken.
    """
    start = curve.start
    if start is None or not curve.rows:
        return Proposal(None, "nothing is measured yet")
    low, high = KL_RANGE
    measured = [row for row in curve.rows if row.kl is not None]
    inside = [row for row in measured if row.kl is not None and low <= row.kl <= high]
    if not inside:
        kls = [row.kl for row in measured if row.kl is not None]
        if kls and max(kls) < low:
            return Proposal(None, f"every KL is below {low:g} nats per token: try larger rates or more steps")
        if kls and min(kls) > high:
            return Proposal(None, f"every KL is above {high:g} nats per token: try smaller rates or fewer steps")
        return Proposal(None, f"no KL is between {low:g} and {high:g} nats per token: try rates between these")
    kept = [row for row in inside if row.average >= start.low]
    if not kept:
        return Proposal(None, "every dose with a KL in the range loses accuracy: try smaller rates with more steps")
    best = max(kept, key=lambda row: (_count(row), -abs(math.log((row.kl or low) / _MIDDLE)), -row.step))
    return Proposal(best, f"KL between {low:g} and {high:g} nats per token, accuracy kept, most thoughts")


def _count(row: DoseRow) -> float:
    return sum(row.thoughts.get(kind, 0.0) for kind in THOUGHTS)


def settings_of(curve: DoseCurve, row: DoseRow) -> Sequence[str]:
    """Return the `--set` values of a dose."""
    return (f"stages.{curve.stage}.learning_rate={row.rate:g}", f"stages.{curve.stage}.steps={row.step}")


def yaml_of(curve: DoseCurve, row: DoseRow) -> str:
    """Return the keys of a dose as lines of a recipe."""
    return f"  - name: {curve.stage}\n    steps: {row.step}\n    learning_rate: {row.rate:g}"


def _row(rate: float, line: Mapping[str, Any]) -> DoseRow:
    average, passes = line.get("average") or {}, line.get("pass_at") or {}
    most = max(passes, key=int, default=None)
    return DoseRow(
        rate,
        int(line["step"]),
        line.get("kl"),
        line.get("thoughts") or {},
        float(average.get("value", 0.0)),
        float(average.get("low", 0.0)),
        float(average.get("high", 1.0)),
        passes[most]["value"] if most is not None else None,
        float(line.get("sample_tokens_mean") or line.get("tokens_mean") or 0.0),
    )
