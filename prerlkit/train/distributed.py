"""One process or several: processes talk only in sums, of counts before a step and of gradients after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from prerlkit.objective.aggregate import Counts


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run. Because every token's weight holds the global denominator, gradients add up."""

    rank: int = 0
    size: int = 1

    def sum_counts(self, counts: Counts) -> Counts:
        if self.size == 1:
            return counts
        both = torch.tensor([counts.tokens, counts.sequences], dtype=torch.int64)
        dist.all_reduce(both)
        return Counts(int(both[0]), int(both[1]))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up gradients over processes, in place; a process without gradient takes part with zeros."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
