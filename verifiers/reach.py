"""Checks the laboratory's task `reach`: combine three numbers by two of + - * to hit a target.

    9 * 4 = 36 , 36 - 3 = 33 .

The last attempt of this form counts: a completion may try, notice a miss, and try again. It must use each number of the
column `numbers` once, be right in both sums, and end in the gold answer.
"""

from __future__ import annotations

import re

from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput

_NUMBER = r"([0-9]{1,3})"
_ATTEMPT = re.compile(rf"{_NUMBER} ([-+*]) {_NUMBER} = {_NUMBER} , {_NUMBER} ([-+*]) {_NUMBER} = {_NUMBER} \.")
_ROW = {"numbers": "9 3 4"}


class ReachSettings(Settings):
    """There are none."""


class Reach(Verifier):
    """Passes a completion whose last attempt is right; needs the columns answer (the target) and numbers (`9 3 4`)."""

    name = "reach"
    Settings = ReachSettings
    settings: ReachSettings

    def judge(self, sample: VerifierInput) -> Verdict:
        numbers = str(sample.row.get("numbers", "")).split()
        if len(numbers) != 3 or not all(map(_whole, [*numbers, sample.answer or ""])):
            return Verdict.unjudged("the row needs an answer and three whole numbers in a column named numbers")
        attempts = _ATTEMPT.findall(" ".join(sample.completion.split()))
        if not attempts:
            return Verdict(0.0, False, "no attempt such as 9 * 4 = 36 , 36 - 3 = 33 .")
        a, first, b, between, again, second, c, result = attempts[-1]
        if sorted(map(int, (a, b, c))) != sorted(map(int, numbers)):
            return Verdict(0.0, False, "other numbers than the given ones")
        if not (between == again and _holds(a, first, b, between) and _holds(again, second, c, result)):
            return Verdict(0.0, False, "wrong arithmetic")
        if int(result) != int(sample.answer or ""):
            return Verdict(0.0, False, f"{result}, not {sample.answer}")
        return Verdict(1.0, True)

    gold = (
        GoldCase("9 * 4 = 36 , 36 - 3 = 33 .", "pass", answer="33", row=_ROW),
        GoldCase("9 + 4 = 13 , 13 - 3 = 10 . wait , 9 * 4 = 36 , 36 - 3 = 33 .", "pass", answer="33", row=_ROW),
        GoldCase("9 * 4 = 36 , 36 - 3 = 33 . wait , 9 + 4 = 13 , 13 - 3 = 10 .", "fail", answer="33", row=_ROW),
        GoldCase("9 * 4 = 36 , 36 - 3 = 33", "fail", answer="33", row=_ROW),
        GoldCase("9 * 4 = 35 , 35 - 3 = 33 .", "fail", answer="33", row=_ROW),
        GoldCase("9 * 4 = 36 , 37 - 4 = 33 .", "fail", answer="33", row=_ROW),
        GoldCase("3 * 8 = 24 , 24 + 9 = 33 .", "fail", answer="33", row=_ROW),
        GoldCase("33", "fail", answer="33", row=_ROW),
        GoldCase("", "fail", answer="33", row=_ROW),
        GoldCase("9 * 4 = 36 , 36 - 3 = 33 .", "unjudged", answer="33"),
        GoldCase("9 * 4 = 36 , 36 - 3 = 33 .", "unjudged", row=_ROW),
    )


def _whole(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}", text) is not None


def _holds(left: str, sign: str, right: str, result: str) -> bool:
    a, b = int(left), int(right)
    return int(result) == {"+": a + b, "-": a - b, "*": a * b}[sign]
