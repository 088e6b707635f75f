"""Bounds what a verifier says about a completion: a verdict is sent, kept, written down and read several times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEEPEST = 20
MOST_VALUES = 2_000
LONGEST_TEXT = 1 << 22
"""Characters, of all texts together."""
CUT = "…"
_LARGEST = 14_000  # bits of a whole number: Python reads 4,300 digits


def bounded(value: Any) -> Any:
    """Return a value with `…` in the place of what is too deep, too long or too much.

    What JSON lacks stays as it is: whoever writes it decides.
    """
    return _Bounds().value(value, 0)


class _Bounds:
    """Counts values and characters as it goes."""

    def __init__(self) -> None:
        self._values, self._characters = MOST_VALUES, LONGEST_TEXT

    def value(self, value: Any, depth: int) -> Any:
        self._values -= 1
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int) and value.bit_length() > _LARGEST:
            return CUT
        if not isinstance(value, Mapping | list | tuple):
            return value
        if depth >= DEEPEST or self._values <= 0:
            return CUT
        return self._mapping(value, depth) if isinstance(value, Mapping) else self._sequence(value, depth)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        kept: dict[Any, Any] = {}
        for key, item in mapping.items():
            if self._values <= 0:
                kept[CUT] = CUT
                break
            kept[self._text(key) if isinstance(key, str) else key] = self.value(item, depth + 1)
        return kept

    def _sequence(self, sequence: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in sequence:
            if self._values <= 0:
                kept.append(CUT)
                break
            kept.append(self.value(item, depth + 1))
        return kept

    def _text(self, text: str) -> str:
        if len(text) > self._characters:
            text = text[: self._characters] + CUT
        self._characters = max(0, self._characters - len(text))
        return text
