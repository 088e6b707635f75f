"""What an evaluation found: a target's estimates, and how targets differ on the same problems."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prerlkit.evaluation import estimates, thoughts
from prerlkit.evaluation.attempts import Problem
from prerlkit.evaluation.estimates import Difference, Estimate, Values
from prerlkit.evaluation.request import EvalSettings
from prerlkit.page.table import html_table, merged_rows

NO_ANSWERS = "maj@k is not known: the verifier returns no answer (`details.answer`) for completions that pass"


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target.

    Attributes:
        metrics: `accuracy` (greedy; Wilson interval), `avg@n`, `pass@k`, `maj@k` (bootstrap over problems). One that
            could not be estimated is None: nothing judged, or the verifier extracts no answers.
        values: the same a problem, for comparisons.
        problems, completions, unjudged, truncated: counts; the last three are of completions.
        tokens_mean, tokens_median, tokens_max: lengths.
        thoughts: thoughts of each kind a completion (`evaluation.thoughts`).
        seconds: this call took; 0 where all was there already.
    """

    target: str
    metrics: Mapping[str, Estimate | None]
    values: Mapping[str, Values]
    problems: int
    completions: int
    unjudged: int
    truncated: int
    tokens_mean: float
    tokens_median: float
    tokens_max: int
    thoughts: Mapping[str, float]
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line with the estimates."""
        figures = "".join(f", {name} {figure}" for name, figure in self.figures().items())
        return f"<TargetResult {self.target!r}{figures}>"

    def figures(self) -> dict[str, str]:
        """Return the estimates with their intervals as text by name."""
        return {_shown(name): str(estimate or "not known") for name, estimate in self.metrics.items()}

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "values"}


@dataclass(frozen=True, slots=True)
class TargetComparison:
    """Every metric of `second` minus that of `first`."""

    first: str
    second: str
    metrics: Mapping[str, Difference | None]

    def __repr__(self) -> str:
        """Return one line with the differences in percentage points."""
        points = "".join(f", {name} {row['points']}" for name, row in self.rows().items())
        return f"<TargetComparison {self.second!r} minus {self.first!r}{points}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        title = f"{self.second} minus {self.first}, on the same problems"
        return html_table(title, *merged_rows(list(self.rows().items()), ""))

    def rows(self) -> dict[str, dict[str, str]]:
        """Return of each metric the cells of its row, by heading."""
        return {_shown(name): _cells(difference) for name, difference in self.metrics.items()}


@dataclass(frozen=True, slots=True)
class Results:
    """One evaluation of one or several targets; comparisons are with the first."""

    task: str
    settings: EvalSettings
    targets: tuple[TargetResult, ...]
    comparisons: tuple[TargetComparison, ...]

    def __repr__(self) -> str:
        """Return one line for each target and comparison."""
        lines = "".join(f"\n  {one!r}" for one in (*self.targets, *self.comparisons))
        return f"<Results {self.task}{lines}>"

    def _repr_html_(self) -> str:
        """Return targets and comparisons as tables for notebooks."""
        rows = [
            (
                target.target,
                {**target.figures(), "problems": f"{target.problems:,}", "unjudged": f"{target.unjudged:,}"},
            )
            for target in self.targets
        ]
        table = html_table(f"{self.task}, 95 % intervals", *merged_rows(rows, "target"))
        return table + "".join(comparison._repr_html_() for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "settings": self.settings.model_dump(mode="json"),
            "targets": [target.to_json() for target in self.targets],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }


def _shown(metric: str) -> str:
    """Return a metric's name for a person: the accuracy of greedy answers is not that of samples, `avg@k`."""
    return "greedy accuracy" if metric == "accuracy" else metric


def _cells(difference: Difference | None) -> dict[str, str]:
    if difference is None:
        return {"points": "not known"}
    estimate = difference.estimate
    return {
        "points": f"{100 * estimate.value:+.1f}",
        "95 % interval": f"[{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]",
        "better": str(difference.better),
        "worse": str(difference.worse),
        "problems": str(difference.problems),
    }


def result(
    target: str,
    greedy: Sequence[Problem],
    sampled: Sequence[Problem],
    settings: EvalSettings,
    *,
    seconds: float = 0.0,
    notes: tuple[str, ...] = (),
) -> TargetResult:
    """The estimates of one target's judged problems."""
    values: dict[str, Values] = {}
    metrics: dict[str, Estimate | None] = {}
    if settings.greedy:
        values["accuracy"], metrics["accuracy"] = estimates.pass_values(greedy, 1), estimates.accuracy(greedy)
    if settings.samples:
        values[f"avg@{settings.samples}"] = estimates.pass_values(sampled, 1)
        values |= {f"pass@{k}": estimates.pass_values(sampled, k) for k in settings.pass_ks if k > 1}
        values |= {f"maj@{k}": estimates.majority_values(sampled, k) for k in settings.majority_ks}
        metrics |= {name: estimates.mean(own) for name, own in values.items() if name not in metrics}
        if settings.majority_ks and not estimates.has_answers(sampled):
            notes = (*notes, NO_ANSWERS)
    attempts = [attempt for problem in (*greedy, *sampled) for attempt in problem.attempts]
    lengths = [attempt.tokens for attempt in attempts] or [0]
    return TargetResult(
        target=target,
        metrics=metrics,
        values=values,
        problems=len({problem.id for problem in (*greedy, *sampled)}),
        completions=len(attempts),
        unjudged=sum(attempt.passed is None for attempt in attempts),
        truncated=sum(attempt.truncated for attempt in attempts),
        tokens_mean=statistics.fmean(lengths),
        tokens_median=statistics.median(lengths),
        tokens_max=max(lengths),
        thoughts=thoughts.mean_counts(attempt.text for attempt in attempts),
        seconds=seconds,
        notes=notes,
    )


def compare(targets: Sequence[TargetResult]) -> tuple[TargetComparison, ...]:
    """Each target after the first against the first."""
    first = targets[0]
    return tuple(
        TargetComparison(
            first.target,
            other.target,
            {name: estimates.difference(own, other.values.get(name, {})) for name, own in first.values.items()},
        )
        for other in targets[1:]
    )
