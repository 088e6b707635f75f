"""Numbers as words."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = {
    word: number
    for number, word in enumerate(
        re.findall(
            r"\S+",
            """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
            seventeen eighteen nineteen""",
        )
    )
}
_TENS = {
    word: 10 * number
    for number, word in enumerate(re.findall(r"\S+", "twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "twelfth": 12, "hundredth": 100,
}  # fmt: skip


def number_of_words(text: str) -> Fraction | None:
    """Return the number that words spell, `twenty-one`, `one hundred and five`, `two thirds`; None for others."""
    words = re.findall(r"[a-z]+", text.lower()) if re.fullmatch(r"[A-Za-z \-]+", text.strip()) else []
    sign = 1
    if words and words[0] in ("minus", "negative"):
        words, sign = words[1:], -1
    if words and words[0] in ("a", "an") and len(words) > 1:
        words = ["one", *words[1:]]
    if not words:
        return None
    part = _PARTS.get(words[-1].removesuffix("s"))
    if part:
        above = whole_of_words(words[:-1]) if len(words) > 1 else 1 if words[-1] in ("half", "quarter") else None
        return None if above is None else sign * Fraction(above, part)
    whole = whole_of_words(words)
    return None if whole is None else sign * Fraction(whole)


def whole_of_words(words: list[str]) -> int | None:
    """Return the natural number that words spell; None where they spell none."""
    total, group, last = 0, 0, 10**15
    below = 0  # what the next word has to be less than
    for i, word in enumerate(words):
        if word == "and":
            if not 0 < i < len(words) - 1 or words[i - 1] not in ("hundred", *_SCALES):
                return None
        elif word in _ONES or word in _TENS:
            value = _ONES[word] if word in _ONES else _TENS[word]
            if below and (value >= below or not value):
                return None
            group += value
            below = 10 if word in _TENS else 1
        elif word == "hundred":
            if not 0 < group < 100:
                return None
            group, below = 100 * group, 100
        elif word in _SCALES:
            if not group or _SCALES[word] >= last:
                return None
            last = _SCALES[word]
            total, group, below = total + group * last, 0, 1000
        else:
            return None
    return total + group if words else None
