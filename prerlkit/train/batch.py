"""Train batches: the samples that carry gradient, scored in the objective's space, packed into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prerlkit.objective.aggregate import Counts, Sample, token_weight
from prerlkit.objective.choices import Objective
from prerlkit.policy.logprobs import Sequences


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


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of a few rows. N counts completion tokens, row by row."""

    sequences: Sequences
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


def micro_batches(rows: Sequence[TrainRow], token_budget: int, *, share_contexts: bool) -> list[list[int]]:
    """Indices of rows, cut so that no micro-batch has more than `token_budget` tokens with padding.

    Rows of one context stay together, longest contexts and completions first, so that what doesn't fit in memory shows
    at once. A row longer than the budget goes alone.
    """
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].context), rows[i].context, -len(rows[i].completion)))
    batches: list[list[int]] = []
    for index in order:
        if batches and _padded_size([rows[i] for i in (*batches[-1], index)], share_contexts) <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _padded_size(rows: Sequence[TrainRow], share_contexts: bool) -> int:
    """Tokens that go through the model, padding included."""
    context, completion = max(len(r.context) for r in rows), max(len(r.completion) for r in rows)
    contexts = len({r.context for r in rows}) if share_contexts else len(rows)
    return contexts * context + len(rows) * completion


def collate(rows: Sequence[TrainRow], indices: Sequence[int], device: torch.device) -> MicroBatch:
    """The tensors of the chosen rows."""
    chosen = [rows[i] for i in indices]
    sequences = Sequences.pack([r.context for r in chosen], [r.completion for r in chosen], device)
    advantages_B = torch.tensor([r.advantage for r in chosen], device=device)
    weights_B = torch.tensor([r.weight for r in chosen], device=device)
    return MicroBatch(sequences, advantages_B[sequences.rows_N], weights_B[sequences.rows_N], tuple(indices))
