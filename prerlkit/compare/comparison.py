"""The comparison: groups of runs at equal steps, tokens and time; by seed, and by prompt where that is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from prerlkit.compare import groups as grouping
from prerlkit.compare.by_prompt import ByPrompt, compare_by_prompt
from prerlkit.compare.curves import MeanCurve, curves
from prerlkit.compare.effects import GroupEffect, group_effects
from prerlkit.compare.groups import RunGroup
from prerlkit.compare.series import AXES, Axis, Series, bounds_of, positions, series_of
from prerlkit.compare.words import html_of
from prerlkit.errors import UsageError
from prerlkit.evaluation.repetitions import Bounds, Contrast, Mean, mean, paired, unpaired
from prerlkit.metrics.catalogue import (
    EVAL_ACCURACY,
    EVAL_AVERAGE,
    EVAL_PASS_AT,
    REWARD,
)
from prerlkit.runs.run import Run, reading_runs
from prerlkit.suggest import nearest

DEFAULT = (EVAL_ACCURACY.name, EVAL_AVERAGE.name, EVAL_PASS_AT.of("*"), REWARD.name)
"""What is compared when nothing is asked for, of what there is."""


@dataclass(frozen=True, slots=True)
class AtBudget:
    """One metric when every run had spent the same.

    Attributes:
        means: by group; a group without the metric there is absent.
        contrasts: by group, minus the baseline.
        seeds: the seeds of a group's mean, in the order of its values.
        between: of how many runs the value lies between two evaluations, on the line that joins them.
    """

    axis: Axis
    budget: float
    means: Mapping[str, Mean]
    contrasts: Mapping[str, Contrast]
    seeds: Mapping[str, tuple[int, ...]]
    between: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric on all axes, and its curves."""

    name: str
    budgets: tuple[AtBudget, ...]
    curves: tuple[MeanCurve, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that `prerlkit compare` finds.

    Attributes:
        incomparable: those of `warnings` under which a difference of accuracies or rewards means nothing.
    """

    groups: tuple[RunGroup, ...]
    baseline: str
    window: int
    budgets: Mapping[Axis, float]
    metrics: tuple[MetricComparison, ...]
    costs: Mapping[str, Mapping[str, Mean]]
    by_prompt: tuple[ByPrompt, ...]
    effects: tuple[GroupEffect, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    incomparable: tuple[str, ...]

    def __repr__(self) -> str:
        """Return one line: what is compared with what."""
        labels = ", ".join(f"{own.label} ({len(own.runs)} runs)" for own in self.groups)
        return f"<Comparison of {labels}; baseline {self.baseline}, {len(self.metrics)} metrics>"

    def _repr_html_(self) -> str:
        """Return warnings and a table for each metric, for notebooks."""
        return html_of(self)

    def to_json(self) -> dict[str, Any]:
        """Plain values; runs by their folder."""
        shown = [
            {
                "label": own.label,
                "runs": [{"folder": str(run.folder), "seed": run.seed} for run in own.runs],
                "left_out": [
                    {"folder": str(o.run.folder), "seed": o.run.seed, "state": o.run.state, "why": o.why}
                    for o in own.left_out
                ],
            }
            for own in self.groups
        ]
        return {
            "groups": shown,
            "baseline": self.baseline,
            "window": self.window,
            "budgets": dict(self.budgets),
            "metrics": [asdict(one) for one in self.metrics],
            "costs": {label: {k: asdict(v) for k, v in own.items()} for label, own in self.costs.items()},
            "by_prompt": [asdict(one) for one in self.by_prompt],
            "effects": [asdict(one) for one in self.effects],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "incomparable": list(self.incomparable),
        }


@reading_runs()
def compare(
    runs: Sequence[Run],
    *,
    by: Sequence[str] = (),
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    window: int = 5,
    lenient: bool = False,
) -> Comparison:
    """Compare groups of runs.

    Args:
        by: dotted recipe keys that make a group; see `groups.group`.
        baseline: label of the group that the others are compared with; None: the first.
        metrics: names, or patterns such as `probe/*`; empty: `DEFAULT`.
        window: steps that a value of single steps is averaged over.
        lenient: leave out metrics that no run has.

    Raises:
        UsageError: no run is completed, or there is no such metric, key or group.
    """
    found = grouping.group(runs, by)
    whole = [own for own in found if own.runs]
    if not whole:
        states = ", ".join(f"{run.folder} ({run.state})" for run in runs)
        raise UsageError(
            f"No run is completed, so there is nothing to compare: {states}.",
            "`prerlkit resume RUN` continues one; a sweep's command continues all of its runs.",
        )
    base = _baseline(whole, baseline)
    series = {id(run): series_of(run) for own in whole for run in own.runs}
    names = _chosen(metrics or DEFAULT, series.values(), lenient or not metrics)
    budgets = {axis: min(positions(run)[axis][-1] for own in whole for run in own.runs) for axis in AXES}
    compared = tuple(
        MetricComparison(
            name,
            tuple(_at_budget(name, axis, budgets[axis], whole, base, series, window) for axis in AXES),
            tuple(curves(name, axis, whole, series, window) for axis in AXES),
        )
        for name in names
    )
    by_prompt = tuple(one for own in whole if own is not base and (one := compare_by_prompt(base, own)))
    incomparable = tuple(grouping.incomparable(whole))
    return Comparison(
        tuple(found),
        base.label,
        window,
        budgets,
        compared,
        {own.label: grouping.costs(own) for own in whole},
        by_prompt,
        group_effects(whole),
        tuple(_notes(whole, base, compared, by_prompt)),
        (*incomparable, *grouping.cut_short(found), *grouping.warnings(whole)),
        incomparable,
    )


def _baseline(whole: Sequence[RunGroup], name: str | None) -> RunGroup:
    if name is None:
        return whole[0]
    labels = [own.label for own in whole]
    if name not in labels:
        raise UsageError(f'--baseline: no group with a completed run is "{name}"{nearest(name, labels)}')
    return whole[labels.index(name)]


def _chosen(asked: Sequence[str], series: Iterable[Mapping[str, Series]], lenient: bool) -> list[str]:
    """Names of metrics in the order asked for; each pattern has to find one, unless `lenient`."""
    known = sorted({name for own in series for name in own})
    chosen: dict[str, None] = {}
    for pattern in asked:
        hits = [name for name in known if fnmatchcase(name, pattern)]
        if not (hits or lenient):
            raise UsageError(f'--metric: no run has "{pattern}"{nearest(pattern, known)}')
        chosen |= dict.fromkeys(hits)
    return list(chosen)


def _at_budget(
    name: str,
    axis: Axis,
    budget: float,
    whole: Sequence[RunGroup],
    base: RunGroup,
    series: Mapping[int, Mapping[str, Series]],
    window: int,
) -> AtBudget:
    values: dict[str, dict[int, float]] = {}
    between = {}
    for own in whole:
        lines = {run.seed: series[id(run)].get(name) for run in own.runs}
        found = {seed: line.value_at(axis, budget, window) for seed, line in lines.items() if line}
        if there := {seed: value for seed, value in found.items() if value}:
            values[own.label] = {seed: value.value for seed, value in there.items()}
            between[own.label] = sum(value.between for value in there.values())
    first, bounds = values.get(base.label, {}), bounds_of(name)
    return AtBudget(
        axis,
        budget,
        {label: mean(list(own.values()), bounds) for label, own in values.items()},
        {label: _contrast(first, own, bounds) for label, own in values.items() if first and label != base.label},
        {label: tuple(own) for label, own in values.items()},
        between,
    )


def _contrast(first: Mapping[int, float], second: Mapping[int, float], bounds: Bounds | None) -> Contrast:
    """By seed where any is in both; otherwise as two samples that have nothing to do with each other.

    Args:
        bounds: of the metric. The difference has none where the metric has no upper one.
    """
    span = None if bounds is None or math.isinf(bounds[1]) else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    both = [seed for seed in first if seed in second]
    if both:
        return paired([second[seed] - first[seed] for seed in both], span)
    return unpaired(list(first.values()), list(second.values()), span)


def _notes(
    whole: Sequence[RunGroup], base: RunGroup, compared: Sequence[MetricComparison], by_prompt: Sequence[ByPrompt]
) -> list[str]:
    """What a reader has to know to read the numbers."""
    notes = []
    if alone := [own.label for own in whole if len(own.runs) == 1]:
        notes.append(f"one seed only, so no interval and no test: {', '.join(alone)}")
    contrasts = [c for m in compared for b in m.budgets for c in b.contrasts.values()]
    if floors := sorted({(c.pairs, c.smallest_p) for c in contrasts if c.smallest_p is not None}):
        words = ", ".join(f"{p:.3g} with {n} pairs" for n, p in floors)
        notes.append(f"p is of the exact sign-flip test over seeds, two-sided; it can't be below 2^-(n-1): {words}")
    if any(c.test == "Welch" for c in contrasts):
        notes.append("groups without a seed in common are compared unpaired, by Welch's t test")
    if any(c.test for c in contrasts) and len(contrasts) > 1:
        notes.append(f"{len(contrasts)} contrasts were looked at; p-values are not corrected for that")
    if any(count for m in compared for b in m.budgets for count in b.between.values()):
        notes.append(
            "values marked ~ lie between two evaluations, on the line that joins them; evaluation.every narrows that"
        )
    if len(whole) > 1 and len(by_prompt) < len(whole) - 1:
        without = [o.label for o in whole if o is not base and o.label not in {one.group for one in by_prompt}]
        notes.append(
            "not paired by prompt (no seed in common, other data, no evaluation at the same step, or written by an "
            f"older version): {', '.join(without)}"
        )
    return notes
