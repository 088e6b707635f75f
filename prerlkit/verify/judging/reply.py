"""Reads the score in a judge's reply. What is not exactly as asked is no score: it is never guessed, never clamped."""

from __future__ import annotations

import re

from prerlkit.verify.thinking import after_thinking

_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_SCORE = re.compile(rf"[*_`\s]*score[*_`\s]*:[*_`\s]*({_NUMBER})(?:\s*/\s*({_NUMBER}))?[*_`\s.]*", re.IGNORECASE)
_LONGEST = 200  # characters of the last line


class NoScore(Exception):  # noqa: N818 - it says what the reply is
    """The reply has no score. The message says why."""


def score_of(reply: str, scale: tuple[float, float]) -> float:
    """Return the score of a reply, scaled to [0, 1]. It is on the last line, after any `<think>` block.

    A score that is quoted before the last line, such as one that the completion claims for itself, does not count.

    Raises:
        NoScore: the last line is not `Score: N`, N is outside the scale, or is out of another number.
    """
    text = after_thinking(reply)
    if text is None:
        raise NoScore("the judge's thought is not finished")
    last = text.rstrip().rpartition("\n")[2]
    found = _SCORE.fullmatch(last) if len(last) <= _LONGEST else None
    if found is None:
        raise NoScore(f"the judge's last line is no score: {last[:80]!r}")
    low, high = scale
    number = float(found[1])
    if found[2] is not None and float(found[2]) != high:
        raise NoScore(f"the judge's score is out of {found[2]}, not of {high:g}")
    if not low <= number <= high:
        raise NoScore(f"the judge's score {found[1]} is outside {low:g} to {high:g}")
    return (number - low) / (high - low)
