"""Self-BLEU: how much of each completion of a group is in the others too. 1: all alike; 0: no common n-gram."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Tokens = tuple[int, ...]
ORDER = 4
"""Longest n-gram, as in BLEU's paper."""


def self_bleu(completions: Sequence[Tokens], order: int = ORDER) -> float | None:
    """Return the mean over completions of the BLEU of each, with all others of the group as its references.

    Self-BLEU is of Texygen (arXiv 1802.01886). BLEU (Papineni et al., ACL 2002) is the geometric mean of clipped n-gram
    precisions, n = 1 … `order`, times the brevity penalty to the reference of the closest length, of two the shorter.
    Nothing is smoothed: without a common n-gram of some order it is 0. A completion of fewer than `order` tokens is
    taken at as many orders as it has tokens (ours).

    Returns:
        0 to 1; None for fewer than two completions that have a token.
    """
    written = [completion for completion in completions if completion]
    if len(written) < 2:
        return None
    precisions = [_precisions(written, n) for n in range(1, order + 1)]
    lengths = [len(completion) for completion in written]
    total = 0.0
    for i, length in enumerate(lengths):
        own = [by_completion[i] for by_completion in precisions[:length]]
        if min(own) > 0.0:
            others = lengths[:i] + lengths[i + 1 :]
            total += _brevity(length, others) * math.exp(sum(map(math.log, own)) / len(own))
    return total / len(written)


def _precisions(completions: Sequence[Tokens], n: int) -> list[float]:
    """Return the share of each completion's n-grams that another one has, each at most as often as that one has it."""
    counts = [Counter(y[i : i + n] for i in range(len(y) - n + 1)) for y in completions]
    # Of each n-gram its two largest counts: the largest in the others is one of them. No completion meets each other.
    most: dict[Tokens, tuple[int, int]] = {}
    for own in counts:
        for gram, count in own.items():
            first, second = most.get(gram, (0, 0))
            most[gram] = (count, first) if count > first else (first, max(second, count))
    return [_clipped(own, most) for own in counts]


def _clipped(own: Counter[Tokens], most: dict[Tokens, tuple[int, int]]) -> float:
    total = own.total()
    if not total:
        return 0.0
    # Where the largest count is its own, the others' is the second; an equal one in another is second too.
    kept = sum(
        min(count, second if count == first else first) for gram, count in own.items() for first, second in [most[gram]]
    )
    return kept / total


def _brevity(length: int, others: Sequence[int]) -> float:
    closest = min(others, key=lambda other: (abs(other - length), other))
    return 1.0 if length > closest else math.exp(1.0 - closest / length)
