"""The nearest right word for a wrong one, for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A clause to append to an error: `; did you mean "grpo"?`, or the list of known words when none is near.

    Args:
        cutoff: difflib's similarity from which a word is near, 0 to 1.
    """
    known = list(known)
    if close := closest(word, known, cutoff):
        return f'; did you mean "{close}"?'
    return f" (known: {', '.join(sorted(known))})" if known else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that `word` was probably meant to be; None where none is near.

    Of several that are as near, one with the same letters wins: `gpro` is `grpo`, not `gspo`.
    """
    words = {one.lower().replace("_", "-"): one for one in known}
    wanted = word.lower().replace("_", "-")
    close = get_close_matches(wanted, words, n=3, cutoff=cutoff)
    close.sort(key=lambda one: sorted(one) != sorted(wanted))
    return words[close[0]] if close else None
