"""Compares a mathematical answer with the gold one, which decides how both are read: as a percentage, a point, a set.

Numbers are compared exactly, other formulas at a precision that follows their terms. math-verify judges what the
grammar can't read (sums over an index, integrals). A completion without an answer fails, and so does an answer that is
too large to work out. A gold answer that can't be read is unjudged.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.settings import NonNegativeFloat
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.mathematics import extract
from prerlkit.verify.mathematics.algebra import symbolic
from prerlkit.verify.mathematics.equal import same
from prerlkit.verify.patterns import never_matches
from prerlkit.verify.thinking import after_thinking

_SECONDS = 1.0  # of processor time for one answer. No answer tried took a tenth; what takes longer fails
_LONGEST = 500  # characters; nothing longer in a box is an answer


class _NotLoaded(Exception):  # noqa: N818 - no error
    """Computer algebra is needed for the first time."""


class MathSettings(Settings):
    """How the answer is found and compared."""

    extract: Literal["auto", "boxed", "last_number", "regex"] = "auto"
    r"""auto: what the last `<answer>` tag holds, else the last `\boxed{}`, else what follows `####`, else what follows
    "answer is", else the last formula or number. boxed: only a box counts. last_number: the last number. In these,
    what a think block holds doesn't count. regex: see `pattern`."""
    pattern: str | None = None
    """With extract: regex. The answer is the first group of its last match, or all of that where it has no group."""
    tolerance: NonNegativeFloat = 0.0
    """Allowed difference of numbers, relative to the gold one (absolute where that is 0). 0: exact, because a
    reward for rounding teaches rounding: 0.5 is 1/2, but 0.333 is not 1/3."""

    @model_validator(mode="after")
    def _pattern_goes_with_regex(self) -> Self:
        if (self.pattern is None) == (self.extract == "regex"):
            raise ValueError("pattern goes with extract: regex, and only with it")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"pattern: {error}") from error
            if why := never_matches(self.pattern):
                raise ValueError(f"pattern: {self.pattern!r} matches nothing, so no completion could pass: {why}")
        return self


class Math(Verifier):
    """Passes a completion whose answer equals the gold one."""

    name = "math"
    Settings = MathSettings
    settings: MathSettings

    def judge(self, sample: VerifierInput) -> Verdict:
        gold = sample.answer or ""
        if not gold.strip():
            return Verdict.unjudged("the gold answer is empty")
        try:
            with cpu_limit(_SECONDS):
                return self._judge(sample, gold)
        except _NotLoaded:
            with self.off_the_clock():  # a second of imports that isn't the sample's
                import math_verify  # noqa: F401
            # It warns that its time limits are off, and of every formula that it can't read.
            logging.getLogger("math_verify").setLevel(logging.CRITICAL)
            return self.judge(sample)
        except TooExpensive:
            return self._too_expensive(gold)

    def _judge(self, sample: VerifierInput, gold: str) -> Verdict:
        answer = self._extract(sample)
        if answer is None or not answer.strip():
            return Verdict.of(False, "no answer found")
        answer = answer.strip()
        if len(answer) > max(_LONGEST, 4 * len(gold)):
            return Verdict.of(False, "the answer is too long to be one", answer=answer[:_LONGEST])
        equal = same(gold, answer, self.settings.tolerance, self._symbolic)
        if equal is None:
            return Verdict.unjudged(f"the gold answer can't be read: {gold[:_LONGEST]}", answer=answer)
        return Verdict.of(equal, "" if equal else "another answer", answer=answer)

    def _too_expensive(self, gold: str) -> Verdict:
        """Return a fail, or unjudged if the gold answer alone takes as long."""
        try:
            with cpu_limit(_SECONDS):
                same(gold, "0", self.settings.tolerance, self._symbolic)
        except TooExpensive:
            return Verdict.unjudged(f"the gold answer takes too long to be worked out: {gold[:_LONGEST]}")
        return Verdict.of(False, "the answer takes too long to be worked out")

    def gold_completion(self, answer: str, row: Mapping[str, Any]) -> str | None:
        """Return the answer in a box, or after `####` where only a number counts; a whole solution unchanged."""
        if self.settings.extract == "regex":
            return None
        if "\n" in answer.strip() or "####" in answer:
            return answer
        if self.settings.extract == "last_number":
            return f"So we get:\n#### {answer}"
        text = rf"So the answer is $\boxed{{{answer}}}$."
        return text if extract.boxed(text) == answer else None  # braces that don't match can't be put in a box

    def _extract(self, sample: VerifierInput) -> str | None:
        if self.settings.extract == "regex":
            last = None
            for last in re.finditer(self.settings.pattern or "", sample.completion):  # noqa: B007 - the last one
                pass
            return None if last is None else last.group(1 if last.re.groups else 0)
        text = after_thinking(sample.completion, sample.prompt)
        if text is None:
            return None
        ways = {"auto": extract.auto, "boxed": extract.boxes, "last_number": extract.last_number}
        return ways[self.settings.extract](text)

    def _symbolic(self, gold: str, answer: str) -> bool | None:
        """Return whether the two are equal by computer algebra, which takes milliseconds."""
        if "math_verify" not in sys.modules:
            raise _NotLoaded
        return symbolic(gold, answer)

    gold = (
        GoldCase(r"So \boxed{42}.", "pass", "42"),
        GoldCase(r"So \boxed{43}.", "fail", "42"),
        GoldCase("48/2 = 24, 48 + 24 = 72\n#### 72", "pass", "72"),
        GoldCase("She has 5 apples and gives 3 away, so 2 are left.", "pass", "2"),
        GoldCase(r"First \boxed{1}, no, \boxed{2}", "pass", "2"),
        GoldCase(r"First \boxed{1}, no, \boxed{2}", "fail", "1"),
        GoldCase(r"\boxed{\frac{1}{\sqrt{2}}}", "pass", r"\frac{\sqrt2}{2}"),
        GoldCase(r"\boxed{\dfrac12}", "pass", "0.5"),
        GoldCase(r"\boxed{6\frac{1}{6}}", "pass", r"\frac{37}{6}"),
        GoldCase(r"\boxed{1{,}234{,}567}", "pass", "1234567"),
        GoldCase(r"It costs \$1,234.50", "pass", "1234.5"),
        GoldCase(r"\boxed{12\text{ cm}^2}", "pass", "12"),
        GoldCase(r"\boxed{12x}", "fail", "12"),
        GoldCase(r"\boxed{5 \text{ million}}", "fail", "5"),
        GoldCase(r"\boxed{50\%}", "pass", "50"),
        GoldCase(r"\boxed{50\%}", "pass", "0.5"),
        GoldCase(r"\boxed{\text{Tuesday}}", "pass", r"\text{Tuesday}"),
        GoldCase(r"\boxed{tuesday}", "pass", "Tuesday"),
        GoldCase(r"\boxed{Monday}", "fail", "Tuesday"),
        GoldCase(r"\boxed{(B)}", "pass", "B"),
        GoldCase(r"\boxed{x = 3}", "pass", "3"),
        GoldCase(r"\boxed{2, -2}", "pass", "-2,2"),
        GoldCase(r"\boxed{\{1, 2\}}", "pass", "2, 1"),
        GoldCase(r"\boxed{(2, 1)}", "fail", "(1,2)"),
        GoldCase(r"\boxed{1 \text{ or } 2}", "fail", "2"),
        GoldCase(r"\boxed{[0, \infty)}", "pass", r"[0,\infty)"),
        GoldCase(r"\boxed{(0, \infty)}", "fail", r"[0,\infty)"),
        GoldCase(r"\boxed{(1,\infty) \cup (-\infty, 0]}", "pass", r"(-\infty,0]\cup(1,\infty)"),
        GoldCase(
            r"\boxed{\begin{pmatrix} 1/2 \\ 3 \end{pmatrix}}", "pass", r"\begin{pmatrix}\frac{1}{2}\\3\end{pmatrix}"
        ),
        GoldCase(r"\boxed{(x-1)(x+1)}", "pass", "x^2-1"),
        GoldCase(r"\boxed{x^2+1}", "fail", "x^2-1"),
        GoldCase(r"\boxed{9^{9^{9^9}}}", "fail", "9"),
        GoldCase(r"\boxed{\frac{1}{3}}", "fail", "0.333"),
        GoldCase(r"\boxed{\frac{1}{3}}", "pass", "0.333", settings={"tolerance": 0.01}),
        GoldCase("the answer is 4", "fail", "4", settings={"extract": "boxed"}),
        GoldCase(
            "<answer>4</answer> 7", "pass", "4", settings={"extract": "regex", "pattern": "<answer>(.*?)</answer>"}
        ),
        GoldCase("I don't know.", "fail", "4"),
        GoldCase("", "fail", "4"),
        GoldCase(r"\boxed{4}", "unjudged", ""),
        GoldCase(r"\boxed{4}", "unjudged", r"\frac{1}{"),
        GoldCase(r"\boxed{4}", "unjudged"),
    )
