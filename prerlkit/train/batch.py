"""Train batches: the samples that carry gradient, scored in the objective's space, packed into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prerlkit.objective.aggregate import Counts, TrainSample, token_weight
from prerlkit.objective.choices import Objective
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.microbatch import TokenRow, by_context


@dataclass(frozen=True, slots=True)
class TrainRow(TokenRow):
    """One sequence of a train batch.

    Attributes:
        weight: what each of y's tokens is multiplied by; holds the step's denominator.
        prompt: what y was sampled behind.
        sampler: log-probs of y's tokens as its engine gave them.
    """

    advantage: float
    weight: float
    prompt: tuple[int, ...] = ()
    sampler: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of a few rows. N counts completion tokens, row by row."""

    sequences: Sequences
    advantages_N: Tensor
    weights_N: Tensor
    sampler_N: Tensor
    indices: tuple[int, ...]
    """Which rows of the train batch these are."""


def train_rows(
    samples: Sequence[TrainSample], objective: Objective, counts: Counts, start_id: int, max_new_tokens: int
) -> list[TrainRow]:
    """The rows of the samples that carry gradient. In pre-train space the prompt is taken away: s + y."""
    rows = []
    for sample in samples:
        if not sample.carries_gradient:
            continue
        completion = sample.completion.token_ids
        context = sample.prompt.token_ids if objective.space == "conditional" else (start_id,)
        weight = token_weight(objective.aggregate, counts, len(completion), max_new_tokens)
        prompt, sampler = sample.prompt.token_ids, sample.completion.logprobs
        rows.append(TrainRow(context, completion, sample.advantage, weight, prompt, sampler))
    return rows


def share_rows(rows: Sequence[TrainRow], rank: int, size: int) -> list[TrainRow]:
    """The rows that process `rank` of `size` trains on: about as many tokens as each of the others.

    Neighbours in the order of contexts, so that all but a few contexts go through one process only. Prompts without
    signal have no rows, so that shares of prompts would be of very different length.
    """
    total = sum(len(r.context) + len(r.completion) for r in rows)
    chosen, before = [], 0
    for row in (rows[i] for i in by_context(rows)):
        tokens = len(row.context) + len(row.completion)
        if (2 * before + tokens) * size // (2 * total) == rank:  # where the row's middle lies
            chosen.append(row)
        before += tokens
    return chosen


def collate(rows: Sequence[TrainRow], indices: Sequence[int], device: torch.device) -> MicroBatch:
    """The tensors of the chosen rows."""
    chosen = [rows[i] for i in indices]
    sequences = Sequences([r.context for r in chosen], [r.completion for r in chosen], device)
    advantages_B = torch.tensor([r.advantage for r in chosen], device=device)
    weights_B = torch.tensor([r.weight for r in chosen], device=device)
    sampler_N = torch.tensor([x for r in chosen for x in r.sampler], device=device)
    rows_N = sequences.rows_N
    return MicroBatch(sequences, advantages_B[rows_N], weights_B[rows_N], sampler_N, tuple(indices))
