"""Reads the number that a text begins with: thousands separators, decimals, repeating decimals, powers of ten."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_DIGITS = 4_000  # Python refuses to read integers beyond 4300 digits
_PLAIN = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+")
_REPEATING = re.compile(r"\s*\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))|(?<=\.)\((\d+)\)")
_DOTTED = re.compile(r"\\dot\s*(?:\{(\d)\}|(\d))")
_DOTS = re.compile(r"\s*(?:\\ldots|\\cdots|\.\.\.|…)")
_SCIENTIFIC = re.compile(r"[eE]([+-]?\d{1,4})(?![\d_.a-zA-Z{])")


_MIXED = re.compile(
    r"(?:\s*\\frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))|\s+(\d+)\s*/\s*(\d+))(?!\s*[\^_!\d])"  # 6\frac16, 3 1/2
)


class Numeral(NamedTuple):
    """A number at the start of a text of `length` characters."""

    value: Fraction
    length: int


def numeral(text: str) -> Numeral | None:
    r"""Return the number that a text begins with, without a sign; None where it begins with something else.

    `0.\overline{3}` and `0.333\ldots` are 1/3, `1e-5` is a power of ten, and `6\frac{1}{6}` is a mixed number because
    its fraction is a proper one.
    """
    plain = _PLAIN.match(text)
    if not plain or len(plain[0]) > _DIGITS:
        return None
    written, end = plain[0].replace(",", ""), plain.end()
    value = Fraction(written.rstrip(".") or "0")
    if "." in written:
        repeating = _repeating(text, end, written.partition(".")[2])
        if repeating is not None:
            return Numeral(value + repeating.value, repeating.length)
        if _DOTS.match(text, end):
            return None  # 3.14… is not known beyond its last digit
    if (power := _SCIENTIFIC.match(text, end)) and (power[1][0] in "+-" or power[0][0] == "E" or "." in written):
        return Numeral(value * Fraction(10) ** int(power[1]), power.end())
    if "." not in written and (mixed := _MIXED.match(text, end)):
        above, below = (int(digits) for digits in mixed.groups() if digits)
        if above < below:
            return Numeral(value + Fraction(above, below), mixed.end())
    return Numeral(value, end)


def _repeating(text: str, end: int, decimals: str) -> Numeral | None:
    """What the digits after the decimals add, and where they end; None where none repeat."""
    if (bar := _REPEATING.match(text, end)) and (period := bar[1] or bar[2] or bar[3]):
        end = bar.end()
        while more := _DOTTED.match(text, end):  # 0.\dot1\dot2
            period += more[1] or more[2]
            end = more.end()
        dots = _DOTS.match(text, end)
        return Numeral(_tail(period, len(decimals)), dots.end() if dots else end)
    if (dots := _DOTS.match(text, end)) and (period := _period(decimals)):
        return Numeral(_tail(period, len(decimals)), dots.end())
    return None


def _tail(period: str, places: int) -> Fraction:
    """What a period adds that repeats for ever after so many decimals."""
    return Fraction(int(period), (10 ** len(period) - 1) * 10**places)


def _period(decimals: str) -> str:
    """The shortest group of digits that the decimals end with at least twice (three times for a single digit)."""
    for length in range(1, len(decimals) // 2 + 1):
        period, times = decimals[-length:], 3 if length == 1 else 2
        if decimals.endswith(period * times):
            return period
    return ""
