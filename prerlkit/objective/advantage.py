"""From verdicts to signed, weighted samples: advantages, which samples count, and what each token is divided by.

The denominator is counted over the whole step before the model runs: over all micro-batches and, with several
processes, over all of them. A token's loss is multiplied by a weight that already holds the denominator. Gradients of
micro-batches and processes therefore add up. Skipping a sample that carries no gradient never changes a denominator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prerlkit.objective.choices import (
    Advantage,
    Aggregate,
    Constant,
    ConstantLength,
    Demonstrated,
    FileAdvantage,
    GroupMean,
    GroupStd,
    MaxRl,
    Objective,
    Rloo,
    SequenceMean,
    TokenMean,
)
from prerlkit.objective.plugins import file_advantages
from prerlkit.types import Completion, Group, Prompt, Verdict


@dataclass(frozen=True, slots=True)
class TrainSample:
    """One judged completion with its advantage, as one objective sees it. `age`: of its group."""

    prompt: Prompt
    completion: Completion
    advantage: float
    carries_gradient: bool
    age: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens and sequences of the samples that count in one step: the parts of a denominator."""

    tokens: int
    sequences: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tokens + other.tokens, self.sequences + other.sequences)


def advantages(verdicts_G: Sequence[Verdict], choice: Advantage) -> tuple[float | None, ...]:
    """Return the advantage of each sample of one group; None where the sample is unjudged.

    Unjudged samples leave the group before any baseline is taken. A group whose rewards are all equal has advantages
    of exactly 0 under every baseline (rounding must not turn "no signal" into signal), all wrong ones with
    `virtual_maximum` aside. `constant` has no baseline: there an advantage depends on its own sample only.
    """
    judged = [(v.score, bool(v.passed)) for v in verdicts_G if v.score is not None]
    rewards = [score for score, _ in judged]
    match choice:
        case Constant():
            values = [choice.positive if passed else -choice.negative for _, passed in judged]
        case GroupMean():
            values = _centred(rewards)
        case GroupStd():
            values = _standardized(rewards + [1.0] * choice.virtual_maximum, choice.epsilon)[: len(rewards)]
        case Rloo():
            values = _leave_one_out(rewards)
        case MaxRl():
            values = _relative(rewards)
        case Demonstrated():
            values = [1.0] * len(judged)
        case FileAdvantage():
            values = file_advantages(choice, rewards, [passed for _, passed in judged])
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


def _relative(rewards: Sequence[float]) -> list[float]:
    mean = sum(rewards) / len(rewards) if rewards else 0.0
    return [c / mean if mean else 0.0 for c in _centred(rewards)]


def _leave_one_out(rewards: Sequence[float]) -> list[float]:
    if len(rewards) < 2 or _no_signal(rewards):
        return _centred(rewards)
    total = sum(rewards)
    return [r - (total - r) / (len(rewards) - 1) for r in rewards]


def select(groups: Iterable[Group], objective: Objective) -> list[TrainSample]:
    """Return the samples that count for `objective`, in order. Those without gradient are marked and never run.

    `negative` and `positive` choose by the sign of the advantage. `all` counts every judged sample, also those of
    groups without signal: a step with few signals is a small step. An empty completion has no token to learn from.
    """
    chosen = []
    for group in groups:
        values = advantages(group.verdicts, objective.advantage)
        for completion, advantage in zip(group.completions, values, strict=True):
            if advantage is None or not completion.token_ids or not _counts(objective, completion, advantage):
                continue
            carries = advantage != 0.0 or objective.regularized
            chosen.append(TrainSample(group.prompt, completion, advantage, carries, group.age))
    return chosen


def _counts(objective: Objective, completion: Completion, advantage: float) -> bool:
    if completion.truncated and objective.truncated == "mask":
        return False
    if objective.signal_only and advantage == 0.0:
        return False
    match objective.samples:
        case "all":
            return True
        case "negative":
            return advantage < 0.0
        case "positive":
            return advantage > 0.0


def count(samples: Sequence[TrainSample]) -> Counts:
    """Return how many tokens and sequences `samples` are."""
    return Counts(sum(len(s.completion.token_ids) for s in samples), len(samples))


def token_weight(aggregate: Aggregate, counts: Counts, length: int, max_new_tokens: int) -> float:
    """Return the factor of each token's loss in a completion of `length` tokens, given the counts of the whole step."""
    match aggregate:
        case TokenMean():
            return 1.0 / counts.tokens
        case SequenceMean():
            return 1.0 / (counts.sequences * length)
        case ConstantLength():
            return 1.0 / (counts.sequences * (aggregate.length or max_new_tokens))
