"""Train batches, without a model: from judged groups to the rows that carry gradient, each token with its weight.

groups ─► advantages, denominators (objective/advantage.py) ─► rows (s + y or x + y) ─► micro-batches of tensors
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prerlkit.objective.advantage import Counts, TrainSample, count, select, token_weight
from prerlkit.objective.choices import Objective
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.microbatch import TokenRow, by_context
from prerlkit.recipe.schema import Stage
from prerlkit.train.distributed import World
from prerlkit.types import Group


@dataclass(frozen=True, slots=True)
class TrainRow(TokenRow):
    """One sequence of a train batch.

    Attributes:
        weight: factor of the loss of each of y's tokens; holds the step's denominator.
        prompt: the prompt that y was sampled from.
        sampler: log-probs of y's tokens as the rollout engine returned them.
        replayed: whether an earlier policy of the stage sampled y.
    """

    advantage: float
    weight: float
    prompt: tuple[int, ...] = ()
    sampler: tuple[float, ...] = ()
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ObjectiveRows:
    """The rows of one objective.

    Attributes:
        rows: those that this process trains on.
        global_rows: number of rows of all processes.
        old: log-probs of each row's completion before the first update; None: on-policy, the ratio is 1.
        given_prompt: log π(y|x) of each row where importance weights need it and the objective is in another space.
    """

    objective: Objective
    rows: tuple[TrainRow, ...]
    global_rows: int
    old: tuple[Tensor, ...] | None = None
    given_prompt: tuple[Tensor, ...] | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest row; 0 without rows."""
        return max((len(row.context) + len(row.completion) for row in self.rows), default=0)


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """What one optimizer step is made of: the rows of each of the stage's objectives."""

    parts: tuple[ObjectiveRows, ...]

    @property
    def global_rows(self) -> int:
        """Number of rows of all objectives and processes."""
        return sum(part.global_rows for part in self.parts)

    @property
    def longest(self) -> int:
        """Tokens of the longest row; 0 without rows."""
        return max(part.longest for part in self.parts)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of a few rows. N counts completion tokens, row by row."""

    sequences: Sequences
    advantages_N: Tensor
    weights_N: Tensor
    sampler_N: Tensor
    replayed_N: Tensor
    """1.0 for tokens of replayed rows, else 0.0."""
    indices: tuple[int, ...]
    """Which rows of the train batch these are."""


def train_batch(groups: Sequence[Group], stage: Stage, start_id: int, world: World) -> TrainBatch:
    """Return what one optimizer step trains on: advantages, denominators, rows. No model, no communication.

    Args:
        groups: the groups of all processes. Each process computes the same denominators and takes its share of rows.
        stage: its objectives.
        start_id: the token in front of y in pre-train space.
    """
    parts = []
    for objective in stage.objective:
        samples = select(groups, objective)  # advantages; the samples that count
        rows = train_rows(samples, objective, count(samples), start_id, stage.rollout.max_new_tokens)
        local_rows = share_rows(rows, world.rank, world.size)
        parts.append(ObjectiveRows(objective, tuple(local_rows), global_rows=len(rows)))
    return TrainBatch(tuple(parts))


def train_rows(
    samples: Sequence[TrainSample], objective: Objective, counts: Counts, start_id: int, max_new_tokens: int
) -> list[TrainRow]:
    """Return a row for each sample that carries gradient. In pre-train space s replaces the prompt: s + y."""
    rows = []
    for sample in samples:
        if not sample.carries_gradient:
            continue
        completion = sample.completion.token_ids
        context = sample.prompt.token_ids if objective.space == "conditional" else (start_id,)
        weight = token_weight(objective.aggregate, counts, len(completion), max_new_tokens)
        prompt, sampler = sample.prompt.token_ids, sample.completion.logprobs
        rows.append(TrainRow(context, completion, sample.advantage, weight, prompt, sampler, sample.age > 0))
    return rows


def share_rows(rows: Sequence[TrainRow], rank: int, size: int) -> list[TrainRow]:
    """Return the rows that process `rank` of `size` trains on: about as many tokens as each of the others.

    Rows are cut in the order of their contexts, so all but a few contexts go through one process only. Prompts without
    signal have no rows. Shares of prompts would therefore be of very different length.
    """
    total = sum(len(r.context) + len(r.completion) for r in rows)
    chosen, before = [], 0
    for row in (rows[i] for i in by_context(rows)):
        tokens = len(row.context) + len(row.completion)
        if (2 * before + tokens) * size // (2 * total) == rank:  # the process that the row's middle falls to
            chosen.append(row)
        before += tokens
    return chosen


def collate(rows: Sequence[TrainRow], indices: Sequence[int], device: torch.device) -> MicroBatch:
    """Return the tensors of the chosen rows."""
    chosen = [rows[i] for i in indices]
    sequences = Sequences([r.context for r in chosen], [r.completion for r in chosen], device)
    advantages_B = torch.tensor([r.advantage for r in chosen], device=device)
    weights_B = torch.tensor([r.weight for r in chosen], device=device)
    sampler_N = torch.tensor([x for r in chosen for x in r.sampler], device=device)
    replayed_B = torch.tensor([float(r.replayed) for r in chosen], device=device)
    rows_N = sequences.rows_N
    return MicroBatch(sequences, advantages_B[rows_N], weights_B[rows_N], sampler_N, replayed_B[rows_N], tuple(indices))
