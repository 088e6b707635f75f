"""Which samples count, which carry gradient, and by what each token is divided.

The denominator is counted over the whole step before the model sees anything: over all micro-batches and, with
several processes, over all of them. A token's loss is multiplied by a weight that already holds it, so gradients simply
add up. Skipping a sample that carries no gradient never changes a denominator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prerlkit.objective.advantage import advantages
from prerlkit.objective.choices import Aggregate, ConstantLength, Objective, SequenceMean, TokenMean
from prerlkit.types import Completion, Group, Prompt


@dataclass(frozen=True, slots=True)
class TrainSample:
    """One judged completion with its advantage, as one objective sees it."""

    prompt: Prompt
    completion: Completion
    advantage: float
    carries_gradient: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """What a denominator is made of: tokens and sequences of the samples that count in one step."""

    tokens: int
    sequences: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tokens + other.tokens, self.sequences + other.sequences)


def select(groups: Iterable[Group], objective: Objective) -> list[TrainSample]:
    """The samples that count for `objective`, in order. Those that carry no gradient say so and are never run.

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
            chosen.append(TrainSample(group.prompt, completion, advantage, carries))
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
    return Counts(sum(len(s.completion.token_ids) for s in samples), len(samples))


def token_weight(aggregate: Aggregate, counts: Counts, length: int, max_new_tokens: int) -> float:
    """What each token of a completion of `length` tokens is multiplied by, given the counts of the whole step."""
    match aggregate:
        case TokenMean():
            return 1.0 / counts.tokens
        case SequenceMean():
            return 1.0 / (counts.sequences * length)
        case ConstantLength():
            return 1.0 / (counts.sequences * (aggregate.length or max_new_tokens))
