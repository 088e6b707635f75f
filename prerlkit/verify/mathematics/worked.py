"""The result of a sum that a sentence works out: "So Jayden needs $200 - $115 = $85 for the camera" says 85.

Only a sum that is right states its result, so that no other text can look like one.
"""

from __future__ import annotations

import re
from fractions import Fraction

_TERM = r"[$€£]?\d[\d,]*(?:\.\d+)?"
_WORDS = r"(?:[ ][A-Za-z]+){0,3}"  # 18 points + 18 points
_SIGN = r"\s*(?:[-−+*/÷×·]|(?<=\s)x(?=\s))\s*"
_SUM = re.compile(
    rf"(?<![\w.,/^*+$)−-])({_TERM}{_WORDS}(?:{_SIGN}{_TERM}{_WORDS}){{1,9}})\s*=\s*({_TERM})"
    r"(?![\w.,]*[\w/^*+=×÷%(])"
)
_NEXT_SIGN = re.compile(r"\s*[-+*/÷×·=^(]")
_PIECE = re.compile(rf"({_TERM})|([-−+*/÷×·]|(?<=\s)x(?=\s))")


def last_worked_sum(sentence: str) -> tuple[int, str, int] | None:
    """Return where the last sum that is worked out rightly begins, its result, and where it ends; None without one."""
    found = None
    if "=" not in sentence:
        return None
    for match in _SUM.finditer(sentence):
        if not _NEXT_SIGN.match(sentence, match.end()) and _value(match[1]) == _number(match[2]):
            found = match.start(), match[2].lstrip("$€£").rstrip(","), match.end()
    return found


def _number(text: str) -> int | Fraction:
    digits = text.lstrip("$€£").replace(",", "")
    return int(digits) if digits.isdecimal() else Fraction(digits)  # fractions take twenty times as long


def _value(text: str) -> int | Fraction | None:
    """The value of numbers with signs between them, products first; None where it has none."""
    total: int | Fraction = 0
    product: int | Fraction = 0
    sign = "+"
    for match in _PIECE.finditer(text):
        if match[2]:
            sign = match[2]
            continue
        number = _number(match[1])
        if sign in "+-−":
            total, product = total + product, number if sign == "+" else -number
        elif sign in "/÷":
            if not number:
                return None
            product = Fraction(product) / number
        else:
            product *= number
    return total + product
