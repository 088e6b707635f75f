"""Advantages: from one group's verdicts to one signed number a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prerlkit.objective.choices import Advantage, Constant, GroupMean, GroupStd, Rloo
from prerlkit.types import Verdict


def advantages(verdicts_G: Sequence[Verdict], choice: Advantage) -> tuple[float | None, ...]:
    """Advantage of each sample of one group; None where the sample is unjudged.

    Unjudged samples leave the group before any baseline is taken. A group whose rewards are all equal has advantages
    of exactly 0 under every baseline (rounding must not turn "no signal" into signal); `constant` has no baseline, so
    there each sample speaks for itself.
    """
    judged = [(v.score, bool(v.passed)) for v in verdicts_G if v.score is not None]
    rewards = [score for score, _ in judged]
    match choice:
        case Constant():
            values = [choice.positive if passed else -choice.negative for _, passed in judged]
        case GroupMean():
            values = _centred(rewards)
        case GroupStd():
            values = _standardized(rewards, choice.epsilon)
        case Rloo():
            values = _leave_one_out(rewards)
    remaining = iter(values)
    return tuple(next(remaining) if v.score is not None else None for v in verdicts_G)


def _no_signal(rewards: Sequence[float]) -> bool:
    return len(rewards) > 1 and all(r == rewards[0] for r in rewards)


def _centred(rewards: Sequence[float]) -> list[float]:
    if _no_signal(rewards):
        return [0.0] * len(rewards)
    # A group of one has mean 0 (the reference code): its reward is its advantage.
    mean = sum(rewards) / len(rewards) if len(rewards) > 1 else 0.0
    return [r - mean for r in rewards]


def _standardized(rewards: Sequence[float], epsilon: float) -> list[float]:
    centred = _centred(rewards)
    if len(rewards) < 2:
        return centred  # std 1 for a group of one (the reference code)
    std = math.sqrt(sum(c * c for c in centred) / (len(rewards) - 1))
    return [c / (std + epsilon) for c in centred]


def _leave_one_out(rewards: Sequence[float]) -> list[float]:
    if len(rewards) < 2 or _no_signal(rewards):
        return _centred(rewards)
    total = sum(rewards)
    return [r - (total - r) / (len(rewards) - 1) for r in rewards]
