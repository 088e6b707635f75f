"""The nearest right word for a wrong one, for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause to append to an error: `; did you mean "grpo"?`, or the list of known words when none is near."""
    known = list(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f" (known: {', '.join(sorted(known))})" if known else ""
