"""Compares what a program printed or returned with what it should have, on plain data."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any


class Spelled:
    """An iterator that a program returned, by its items. As an iterator it equals nothing, but it can be walked."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self._rest = iter(items)

    def __iter__(self) -> Iterator[Any]:
        return self._rest


def same_text(expected: str, printed: str, tolerance: float) -> bool:
    """Line by line, without trailing space and empty lines at the end; decimal fractions as numbers.

    Args:
        tolerance: allowed difference of decimal fractions, relative (absolute below 1). Whole numbers are exact.
    """
    left, right = _lines(expected), _lines(printed)
    if left == right:
        return True
    if len(left) != len(right):
        return False
    return all(
        a == b or _same_words(a.split(), b.split(), tolerance) for a, b in zip(left, right, strict=True)
    )  # fmt: skip


def same_value(expected: Any, value: Any, tolerance: float) -> bool:
    """Whether a plain value equals one from JSON: tuples, deques, ranges and iterators are lists there, keys are texts.

    A bool is no number here, as it is none in JSON.
    """
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    if isinstance(expected, float) or isinstance(value, float):
        return (
            isinstance(expected, int | float) and isinstance(value, int | float) and _close(expected, value, tolerance)
        )
    if isinstance(expected, list):
        if isinstance(value, Spelled):
            value = value.items
        items = list(value) if isinstance(value, list | tuple | deque | range) else None
        return (
            items is not None
            and len(items) == len(expected)
            and all(same_value(a, b, tolerance) for a, b in zip(expected, items, strict=True))
        )
    if isinstance(expected, dict):
        if not isinstance(value, dict) or len(value) != len(expected):
            return False
        named = {key if isinstance(key, str) else str(key): item for key, item in value.items()}
        return named.keys() == expected.keys() and all(same_value(expected[k], named[k], tolerance) for k in expected)
    return type(expected) is type(value) and bool(expected == value)


def _close(a: float, b: float, tolerance: float) -> bool:
    try:
        if not (math.isfinite(a) and math.isfinite(b)):  # any number is within a share of infinity
            return a == b or (math.isnan(a) and math.isnan(b))
        return a == b or abs(a - b) <= tolerance * max(1.0, abs(a))
    except OverflowError:  # an int beyond all floats
        return False


def _same_words(left: list[str], right: list[str], tolerance: float) -> bool:
    return len(left) == len(right) and all(
        a == b or _same_number(a, b, tolerance) for a, b in zip(left, right, strict=True)
    )


def _same_number(expected: str, printed: str, tolerance: float) -> bool:
    if not any(mark in expected for mark in ".eE") or "_" in printed:
        return False
    try:
        wanted, given = float(expected), float(printed)
    except ValueError:
        return False
    if math.isinf(wanted) and math.isinf(given):  # both are written as numbers beyond all floats, perhaps other ones
        return "inf" in expected.lower() and wanted == given
    return _close(wanted, given, tolerance)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
