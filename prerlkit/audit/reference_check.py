"""A second opinion on mathematics: math-verify alone, with its own way of finding the answer in a text."""

from __future__ import annotations

import logging
import sys

from prerlkit.types import Verdict
from prerlkit.verify import Verifier, VerifierInput


class MathVerify(Verifier):
    """Passes what math-verify holds equal; for `prerlkit verifiers audit`, which shows where it differs from ours."""

    name = "math_verify"

    def judge(self, sample: VerifierInput) -> Verdict:
        if "math_verify" not in sys.modules:
            with self.off_the_clock():
                import math_verify  # noqa: F401 - so that its time isn't the sample's
            logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        from math_verify import parse, verify

        gold = parse(f"${sample.answer}$", parsing_timeout=None)
        if not gold:
            return Verdict.unjudged("math-verify can't read the gold answer")
        answer = parse(sample.completion, parsing_timeout=None)
        return Verdict.of(bool(verify(gold, answer, timeout_seconds=None)), f"read {str(answer)[:200]}")
