"""Counts what a reasoning text does, by the phrases that it does it with.

The paper (arXiv 2604.14142) reports that NSR-PreRL multiplies transition and reflection thoughts. These lists are ours
and are what a count means here: whole words, in any case, the longest phrase first, no word twice within a kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

PHRASES: Mapping[str, tuple[str, ...]] = {
    "transition": (
        "alternatively", "another approach", "another method", "another option", "another way", "different approach",
        "different method", "different way", "instead of that", "instead, let", "let me try", "let's try",
        "maybe i can", "maybe i should", "maybe we can", "on the other hand", "what if",
    ),
    "reflection": (
        "but wait", "did i make", "hold on", "i made a mistake", "i made an error", "i misread", "let me rethink",
        "let me reconsider", "let me think again", "let's reconsider", "no, that", "on second thought", "that can't be",
        "that doesn't seem right", "that's not right", "that's wrong", "wait", "hmm",
    ),
    "verification": (
        "check that", "check this", "check whether", "confirm that", "double check", "double-check", "let me check",
        "let me confirm", "let me verify", "let's check", "let's verify", "make sure", "plug back", "plugging back",
        "sanity check", "substitute back", "substituting back", "to check", "to verify", "verify that", "verify this",
    ),
    "decomposition": (
        "break down", "break it down", "break it into", "break the problem", "break this down", "break this into",
        "case 1", "consider each case", "consider two cases", "first step", "first, i", "first, let", "first, we",
        "let's break", "split this into", "step 1", "step by step", "sub-problem", "subproblem",
    ),
}  # fmt: skip
"""The phrases of each kind of thought, in lower case."""

KINDS = tuple(PHRASES)


def _pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=len, reverse=True)
    words = "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in longest_first)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


_PATTERNS = {kind: _pattern(phrases) for kind, phrases in PHRASES.items()}


def count(text: str) -> dict[str, int]:
    """How many thoughts of each kind are in a text. Curly apostrophes count as straight ones."""
    text = text.replace("’", "'")
    return {kind: sum(1 for _ in pattern.finditer(text)) for kind, pattern in _PATTERNS.items()}


def spans(text: str) -> list[tuple[int, int]]:
    """Return (begin, end) of every phrase of any kind in a text."""
    text = text.replace("’", "'")
    return [found.span() for pattern in _PATTERNS.values() for found in pattern.finditer(text)]


def mean_counts(texts: Iterable[str]) -> dict[str, float]:
    """Thoughts of each kind a text, on average; 0 for no text."""
    totals, number = dict.fromkeys(KINDS, 0), 0
    for text in texts:
        number += 1
        for kind, found in count(text).items():
            totals[kind] += found
    return {kind: total / max(1, number) for kind, total in totals.items()}
