"""Runs a verifier's own gold cases, in this process."""

from __future__ import annotations

from prerlkit.types import Verdict
from prerlkit.verify.base import GoldCase, Sample, Verifier


def outcome(verdict: Verdict) -> str:
    """`pass`, `fail` or `unjudged`."""
    if not verdict.judged:
        return "unjudged"
    return "pass" if verdict.passed else "fail"


def judge_case(verifier: type[Verifier], case: GoldCase) -> Verdict:
    """The verdict on one gold case, missing gold answers treated as the runner treats them."""
    if verifier.needs_answer and case.answer is None:
        return Verdict.unjudged("no gold answer")
    settings = verifier.Settings.model_validate(dict(case.settings))
    sample = Sample(case.prompt, case.completion, case.answer, case.row, case.truncated)
    return verifier(settings).judge(sample)


def failures(verifier: type[Verifier]) -> list[str]:
    """What is wrong with a verifier's gold cases, one line each; empty when all is well.

    A verifier without a case that must pass, or without one that must fail, is wrong too: nothing shows that it judges.
    """
    wrong = [
        f"{verifier.name}: has no gold case that must {kind}"
        for kind in ("pass", "fail")
        if not any(case.expect == kind for case in verifier.gold)
    ]
    for number, case in enumerate(verifier.gold, 1):
        verdict = judge_case(verifier, case)
        if outcome(verdict) != case.expect:
            wrong.append(
                f"{verifier.name}: gold case {number} must be {case.expect}, is {outcome(verdict)} ({verdict.reason}): "
                f"completion {case.completion!r}, answer {case.answer!r}, settings {dict(case.settings)}"
            )
    return wrong
