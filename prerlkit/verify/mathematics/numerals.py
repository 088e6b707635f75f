"""Reads the number that a text begins with: thousands separators, decimals, repeating decimals, powers of ten."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_DIGITS = 4_000  # Python refuses to read integers beyond 4300 digits
_PLAIN = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+")
_REPEATING = re.compile(r"\s*\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))|\(\d+\)(?=\\ldots)")
_DOTS = re.compile(r"\s*(?:\\ldots|\\cdots|\.\.\.|…)")
_SCIENTIFIC = re.compile(r"[eE]([+-]?\d{1,4})(?![\d_.a-zA-Z{])")


class Numeral(NamedTuple):
    """A number at the start of a text. `whole`: it is written without a decimal point."""

    value: Fraction
    length: int
    whole: bool


def numeral(text: str) -> Numeral | None:
    r"""Return the number that a text begins with, without a sign; None where it begins with something else.

    `0.\overline{3}` and `0.333\ldots` are 1/3. `1e5` is a power of ten.
    """
    plain = _PLAIN.match(text)
    if not plain or len(plain[0]) > _DIGITS:
        return None
    written, end = plain[0].replace(",", ""), plain.end()
    value = Fraction(written.rstrip(".") or "0")
    decimals = written.partition(".")[2]
    if "." in written and (bar := _REPEATING.match(text, end)) and (period := bar[1] or bar[2]):
        end = bar.end()
        while more := re.compile(r"\\dot\s*(?:\{(\d)\}|(\d))").match(text, end):  # 0.\dot1\dot2
            period += more[1] or more[2]
            end = more.end()
        dots = _DOTS.match(text, end)
        return Numeral(value + _tail(period, len(decimals)), dots.end() if dots else end, False)
    if "." in written and (dots := _DOTS.match(text, end)):
        period = _period(decimals)
        if not period:
            return None  # 3.14… is not known beyond its last digit
        return Numeral(value + _tail(period, len(decimals)), dots.end(), False)
    if power := _SCIENTIFIC.match(text, end):
        if power[1][0] in "+-" or power[0][0] == "E" or "." in written:
            return Numeral(value * Fraction(10) ** int(power[1]), power.end(), False)
    return Numeral(value, end, "." not in written)


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
