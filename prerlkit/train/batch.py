"""Train batches: the samples that carry gradient, scored in the objective's space, packed into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prerlkit.objective.aggregate import Counts, Sample, token_weight
from prerlkit.objective.choices import Objective


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One sequence that goes through the model: context (prompt, or the start token), then y.

    Attributes:
        weight: what each of y's tokens is multiplied by; holds the step's denominator.
    """

    context: tuple[int, ...]
    completion: tuple[int, ...]
    advantage: float
    weight: float

    @property
    def length(self) -> int:
        return len(self.context) + len(self.completion)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of a few rows. N counts completion tokens, row by row."""

    tokens_BT: Tensor
    rows_N: Tensor
    columns_N: Tensor
    advantages_N: Tensor
    weights_N: Tensor
    indices: tuple[int, ...]
    """Which rows of the train batch these are."""


def train_rows(
    samples: Sequence[Sample], objective: Objective, counts: Counts, start_id: int, max_new_tokens: int
) -> list[TrainRow]:
    """The rows of the samples that carry gradient. In pre-train space the prompt is taken away: s + y."""
    rows = []
    for sample in samples:
        if not sample.carries_gradient:
            continue
        completion = sample.completion.token_ids
        context = sample.prompt.token_ids if objective.space == "conditional" else (start_id,)
        weight = token_weight(objective.aggregate, counts, len(completion), max_new_tokens)
        rows.append(TrainRow(context, completion, sample.advantage, weight))
    return rows


def micro_batches(rows: Sequence[TrainRow], token_budget: int) -> list[list[int]]:
    """Indices of rows, longest first, cut so that no micro-batch has more than `token_budget` tokens with padding.

    A row longer than the budget goes alone. Longest first, so that what doesn't fit in memory shows at once.
    """
    order = sorted(range(len(rows)), key=lambda i: -rows[i].length)
    batches: list[list[int]] = []
    for index in order:
        if batches and rows[batches[-1][0]].length * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def collate(rows: Sequence[TrainRow], indices: Sequence[int], device: torch.device) -> MicroBatch:
    """Right-pad the chosen rows and list the tokens to score. Padding is never attended to by a real token."""
    chosen = [rows[i] for i in indices]
    tokens_BT = torch.zeros(len(chosen), max(r.length for r in chosen), dtype=torch.long)
    row_ids, columns, advantages, weights = [], [], [], []
    for b, row in enumerate(chosen):
        tokens_BT[b, : row.length] = torch.tensor(row.context + row.completion)
        n = len(row.completion)
        row_ids.append(torch.full((n,), b))
        columns.append(torch.arange(len(row.context), row.length))
        advantages.append(torch.full((n,), row.advantage))
        weights.append(torch.full((n,), row.weight))
    return MicroBatch(
        tokens_BT.to(device),
        torch.cat(row_ids).to(device),
        torch.cat(columns).to(device),
        torch.cat(advantages).to(device),
        torch.cat(weights).to(device),
        tuple(indices),
    )
