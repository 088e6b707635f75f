"""Runs a verifier's own gold cases, in this process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prerlkit.types import Verdict
from prerlkit.verify.base import GoldCase, Verifier
from prerlkit.verify.registry import configured


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A gold case as it was judged, in `seconds`."""

    number: int
    case: GoldCase
    verdict: Verdict
    seconds: float

    @property
    def right(self) -> bool:
        return outcome(self.verdict) == self.case.expect


def outcome(verdict: Verdict) -> str:
    """`pass`, `fail` or `unjudged`."""
    if not verdict.judged:
        return "unjudged"
    return "pass" if verdict.passed else "fail"


def judge_case(
    verifier: type[Verifier],
    case: GoldCase,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Verdict:
    """The verdict on one gold case, missing gold answers and exceptions treated as the runner treats them.

    Args:
        settings: for all cases; a case's own go over them.
        environment: the variables that the verifier gets.

    Raises:
        UsageError: a setting is unknown or wrong.
    """
    made = configured(verifier, {**(settings or {}), **case.settings})
    made.environment = environment or {}
    if made.needs_answer and case.answer is None:
        return Verdict.unjudged("no gold answer")
    try:
        return made.judge(case.sample)
    except Exception as error:  # noqa: BLE001 - a plugin's judge may raise anything
        return Verdict.unjudged(f"raised {type(error).__name__}: {error}")


def run_cases(
    verifier: type[Verifier], settings: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> list[CaseResult]:
    """All gold cases of a verifier, judged and timed."""
    results = []
    for number, case in enumerate(verifier.gold, 1):
        begun = time.perf_counter()
        verdict = judge_case(verifier, case, settings, environment)
        results.append(CaseResult(number, case, verdict, time.perf_counter() - begun))
    return results


def missing(verifier: type[Verifier]) -> list[str]:
    """The kinds of gold case that a verifier lacks: without one of each nothing shows that it judges."""
    return [
        f"{verifier.name}: has no gold case that must {kind}"
        for kind in ("pass", "fail")
        if not any(case.expect == kind for case in verifier.gold)
    ]


def explain(verifier: type[Verifier], result: CaseResult) -> str:
    """A wrong result in one line."""
    case = result.case
    return (
        f"{verifier.name}: gold case {result.number} must be {case.expect}, is {outcome(result.verdict)} "
        f"({result.verdict.reason}): completion {case.completion!r}, answer {case.answer!r}, "
        f"settings {dict(case.settings)}"
    )


def failures(verifier: type[Verifier], settings: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong with a verifier's gold cases, one line each; empty when all is well."""
    return missing(verifier) + [
        explain(verifier, result) for result in run_cases(verifier, settings) if not result.right
    ]
