"""Answers that are written rather than computed: words, option letters, times, dates, ratios, numerals in a base."""

from __future__ import annotations

import re
from fractions import Fraction

from prerlkit.verify.mathematics.exact import NotExact, TooLarge, Undefined, fraction
from prerlkit.verify.mathematics.grammar import readable
from prerlkit.verify.mathematics.names import FUNCTIONS
from prerlkit.verify.mathematics.normal import compact, plain

_LETTER = re.compile(r"\(?([A-Za-z])\)?")
_OPTION = re.compile(r"\(?([A-Z])[).:]\s*(.+)|\(([A-Z])\)\s*(.*)", re.DOTALL)
_NAMED_LETTER = re.compile(r"(?:(?:the )?(?:option|choice|answer|letter)\s*:?\s*)?\(?([A-Za-z])\)?[.:]?", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .,-]*[A-Za-z]\d{0,2}")
_CLOCK = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\.?\s*m\.?|(noon|midnight|in the (?:morning|afternoon|evening)))?",
    re.IGNORECASE,
)
_HALVES = {"noon": "p", "midnight": "a", "in the morning": "a", "in the afternoon": "p", "in the evening": "p"}
_RATIO = re.compile(r"(?!\\\{)[^:,()\s<>=]+(?:\s*:\s*[^:,()\s<>=]+)+")
_TO = re.compile(r"\s+to\s+|\s*:\s*")
_BASED = re.compile(
    r"(-?)\{?\(?([0-9A-Za-z,]+)\)?\}?\s*_\s*\{?\s*\(?\s*(?:base[\s-]*)?(\d{1,2}|[a-z]+)\s*\)?\s*\}?"
    r"|(-?)\(?([0-9A-Za-z]*\d[0-9A-Za-z]*)\)?\s*,?\s*\(?(?:in )?base[\s-]*(\d{1,2}|[a-z]+)\)?"
)
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16, "binary": 2, "octal": 8, "decimal": 10, "hex": 16,
}  # fmt: skip
_MONTHS = re.findall(
    r"\S+", """january february march april may june july august september october november december"""
)
_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})|(\d{1,2})/(\d{1,2})/(\d{4})")
_NAMED_DATE = re.compile(
    r"([A-Za-z]+)\.?\s*(\d{1,2})(?:st|nd|rd|th)?(?:,?\s*(\d{4}))?|(\d{1,2})(?:st|nd|rd|th)?\s*([A-Za-z]+)\.?(?:,?\s*(\d{4}))?"
)


def as_option(gold: str, answer: str) -> bool | None:
    r"""Option letters, `(B)`, and options with their text, `\textbf{(B)}\ 5`, of which the answer may give either."""
    gold, answer = plain(gold), plain(answer)
    if letter := _LETTER.fullmatch(gold):
        other = _NAMED_LETTER.fullmatch(answer)
        if other:
            return letter[1] == other[1]
        option = _OPTION.fullmatch(answer)
        return option is not None and (option[1] or option[3]) == letter[1] and gold.isupper() if option else None
    return None


def option_text(gold: str) -> tuple[str, str] | None:
    """Return the letter and the text of an option `(B) 5`; None where the gold answer is none."""
    found = re.fullmatch(r"\(([A-Z])\)\s*(.+)", plain(gold), re.DOTALL)
    return (found[1], found[2]) if found else None


def as_words(gold: str, answer: str) -> bool | None:
    """Words are equal when they are spelled the same, whatever the case of longer ones."""
    word = re.fullmatch(r"\\(?:text[a-z]*|mbox)\s*\{\s*([A-Za-z]{2,})[.\s]*\}", gold)  # \text{odd} is no product
    gold = plain(gold)
    if not is_words(gold) and not word:
        return None
    answer = re.sub(r"^(?:it is|the|a|an)\s+", "", plain(answer), flags=re.IGNORECASE)
    gold = re.sub(r"^(?:it is|the|a|an)\s+", "", gold, flags=re.IGNORECASE)
    if re.search(r"[+*/=^\\<>]", answer):
        return False
    left, right = (re.sub(r"[^A-Za-z0-9]", "", text) for text in (gold, answer))
    return (
        left == right
        if left.isupper() and left not in ("YES", "NO", "TRUE", "NONE", "EVEN", "ODD")
        else left.lower() == right.lower()
    )


def is_words(text: str) -> bool:
    """Return whether a text is words or a run of capitals, and no product of variables or functions."""
    if not _WORDS.fullmatch(text):
        return False
    runs = re.findall(r"[A-Za-z]+", text)
    if any(run in FUNCTIONS for run in runs) or "," in text:
        return False
    return any(len(run) > 3 or (len(run) > 1 and run.isupper()) or (len(run) > 2 and run.istitle()) for run in runs)


def as_clock(gold: str, answer: str) -> bool | None:
    """Times of day: hours and minutes the same, and a.m. or p.m. where both say it."""
    left, right = _CLOCK.fullmatch(plain(gold)), _CLOCK.fullmatch(plain(answer))
    if not left or not all(int(part) < 60 for part in left.groups()[1:3] if part):
        return None
    if not right:
        pair = ratio(answer)
        return False if _half(left) else None if pair is None else pair == ratio(gold)
    if not right[3] and not left[3] and (one := _of_day(left)) and (other := _of_day(right)):
        return one == other
    if _half(left) and _half(right) and _half(left) != _half(right):
        return False
    return [int(part) for part in left.groups()[:3] if part] == [int(part) for part in right.groups()[:3] if part]


def _half(clock: re.Match[str]) -> str:
    """`a` before noon, `p` after it, "" where the time doesn't say."""
    return (clock[4] or _HALVES.get((clock[5] or "").lower(), "")).lower()


def _of_day(clock: re.Match[str]) -> tuple[int, int] | None:
    """Hours and minutes from midnight; None where the half of the day isn't known: 15:30 is known, 3:30 is not."""
    hours, minutes = int(clock[1]), int(clock[2])
    if half := _half(clock):
        return (hours % 12 + (12 if half == "p" else 0), minutes) if 1 <= hours <= 12 else None
    return (hours, minutes) if 13 <= hours < 24 or clock[1] in ("0", "00") else None


def as_ratio(gold: str, answer: str) -> bool | None:
    r"""Ratios `2:3`, also as `2 to 3` and, for two parts, as the fraction 2/3. A number is equal to none."""
    if ":" not in gold and ":" not in answer:
        return None
    left, right = ratio(gold), ratio(answer)
    if ":" not in gold:
        return False if right is not None else None
    if left is None:
        return False if _RATIO.fullmatch(gold) else None
    return right is not None and [part * right[0] for part in left] == [part * left[0] for part in right]


def ratio(text: str) -> list[Fraction] | None:
    """Return the parts of a ratio, or a written fraction as two parts."""
    text = plain(text)
    if re.fullmatch(r"\\frac\s*(?:\{\d+\}|\d)\s*(?:\{\d+\}|\d)|\d+\s*/\s*\d+", text):
        value = _number(text)
        return None if value is None else [Fraction(value.numerator), Fraction(value.denominator)]
    found = [_number(part) for part in _TO.split(text)]
    return [part for part in found if part is not None] if len(found) > 1 and None not in found and found[0] else None


def _number(text: str) -> Fraction | None:
    formula = readable(text.strip())
    try:
        return None if formula is None else fraction(formula)
    except (NotExact, TooLarge, Undefined):
        return None


def as_date(gold: str, answer: str) -> bool | None:
    """Dates, by year, month and day, in figures or with the month's name."""
    left = date(gold)
    if left is None:
        return None
    right = date(answer)
    return right is not None and left == right


def date(text: str) -> tuple[int, int, int] | None:
    """Return year, month and day; the year is 0 where a month's name and a day stand alone."""
    text = plain(text)
    if found := _DATE.fullmatch(compact(text)):
        year, month, day = (found[1], found[2], found[3]) if found[1] else (found[6], found[4], found[5])
        return (int(year), int(month), int(day)) if 1 <= int(month) <= 12 and 1 <= int(day) <= 31 else None
    if found := _NAMED_DATE.fullmatch(text):
        name, day = (found[1], found[2]) if found[1] else (found[5], found[4])
        months = [i for i, month in enumerate(_MONTHS, 1) if month == name.lower() or month[:3] == name.lower()]
        return (int(found[3] or found[6] or 0), months[0], int(day)) if months else None
    return None


def as_based(gold: str, answer: str) -> bool | None:
    """Numerals in a base, `2215_6`. Where the gold answer names its base the answer may leave it out."""
    left = numeral_in_base(gold)
    right = numeral_in_base(answer, any_case=left is not None)
    if left is None or not left[0]:
        if right is None:
            return None
        decimal = _number(compact(gold)) if right[1] == 10 else None
        return decimal is not None and decimal == _number(right[0])
    digits, base = right if right else (re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", compact(plain(answer))), left[1])
    return base == left[1] and _significant(digits) == _significant(left[0])


def _significant(digits: str) -> str:
    return re.sub(r"^(-?)0+", r"\1", digits.upper())


def numeral_in_base(text: str, any_case: bool = False) -> tuple[str, int] | None:
    """Return digits and base, ("", 0) where the digits don't fit the base; None where the text is no numeral.

    Args:
        any_case: `ff_{16}` is one: the gold answer is a numeral. By itself it could be a product with an index.
    """
    found = _BASED.fullmatch(plain(text))
    if not found:
        return None
    sign, digits, written = found.groups()[:3] if found[2] else found.groups()[3:]
    digits = digits.replace(",", "")
    base = int(written) if written.isdigit() else _BASES.get(written, 0)
    if not 2 <= base <= 36 or not digits:
        return None
    fits = all("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".find(digit) in range(base) for digit in digits.upper())
    if not digits[0].isdigit() and not ((any_case or digits.isupper()) and len(digits) > 1):
        return None  # a variable with an index
    return (sign + digits, base) if fits else ("", 0)
