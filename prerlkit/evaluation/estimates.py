"""From judged attempts to estimates with 95 % intervals: accuracy, avg@k, pass@k, maj@k, differences of policies.

A problem whose attempts are unjudged is left out of an estimate and counted separately; it is never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prerlkit.evaluation.attempts import Problem
from prerlkit.evaluation.majority import majority_at_k
from prerlkit.evaluation.statistics import bootstrap_mean, pass_at_k, wilson

Values = dict[str, float]
"""One number a problem, by its id: what two policies are compared on."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, or a difference of shares, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much one policy is better than another on the same problems.

    Attributes:
        estimate: mean of the paired differences; bootstrap over problems.
        problems: how many both could be judged on.
        better, worse: on how many the second is better, or worse.
    """

    estimate: Estimate
    problems: int
    better: int
    worse: int


def pass_values(problems: Sequence[Problem], k: int) -> Values:
    """Unbiased pass@k of each problem with at least k judged attempts. With k = 1 it is the pass rate."""
    judged = {problem.id: problem.judged for problem in problems}
    return {where: pass_at_k(len(own), sum(own), k) for where, own in judged.items() if len(own) >= k}


def has_answers(problems: Sequence[Problem]) -> bool:
    """Return whether the answer of every passed attempt is known."""
    return all(not attempt.passed or attempt.answer is not None for one in problems for attempt in one.attempts)


def majority_values(problems: Sequence[Problem], k: int) -> Values:
    """maj@k of each problem where it is known; of none where a passed attempt has no answer.

    Without the problems that have such an attempt, the remaining ones would be those that failed.
    """
    if not has_answers(problems):
        return {}
    values = {problem.id: majority_at_k(problem.attempts, k) for problem in problems}
    return {where: value for where, value in values.items() if value is not None}


def accuracy(problems: Sequence[Problem]) -> Estimate | None:
    """Share of judged problems whose one attempt passes, with Wilson's interval; None where none is judged."""
    values = pass_values(problems, 1)
    if not values:
        return None
    passed = round(sum(values.values()))
    return Estimate(passed / len(values), *wilson(passed, len(values)))


def mean(values: Mapping[str, float]) -> Estimate | None:
    """Mean over problems with its bootstrap interval; None for no problem."""
    if not values:
        return None
    numbers = list(values.values())
    return Estimate(sum(numbers) / len(numbers), *bootstrap_mean(numbers))


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> Difference | None:
    """second − first over the problems that both have; None where there is none.

    Pairing takes out how hard each problem is, so that the interval is narrower than two separate ones suggest.
    """
    both = [where for where in first if where in second]
    if not both:
        return None
    deltas = [second[where] - first[where] for where in both]
    estimate = Estimate(sum(deltas) / len(deltas), *bootstrap_mean(deltas))
    return Difference(estimate, len(both), sum(d > 0 for d in deltas), sum(d < 0 for d in deltas))


def share(problems: Sequence[Problem], holds: Callable[..., bool]) -> float:
    """Share of all attempts for which `holds`; 0 for none."""
    attempts = [attempt for problem in problems for attempt in problem.attempts]
    return sum(map(holds, attempts)) / max(1, len(attempts))
