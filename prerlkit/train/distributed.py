"""One process or several, behind one small class: shares of the work, exchanged values, common decisions.

State is replicated: every process has the same adapters and the same optimizer, does its share of the prompts and of
the training rows, and adds its gradient to the others'. Because every token's weight holds the denominator of the whole
step, gradients simply add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from prerlkit.errors import PrerlkitError, UsageError

T = TypeVar("T")


class LostError(PrerlkitError):
    """Another process of the run is gone, or made another call than this process."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, as one of them sees them. With one process every method returns its own value at no cost.

    All processes must call every method that exchanges values, in the same order.

    Attributes:
        rank: which of the `size` processes this is.
        local_rank: which of those on this machine; its CUDA device has that number.
        why: asks what made another process fail; "" while nothing is known.

    Raises (every method that tells or asks):
        LostError: another process is gone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    why: Callable[[], str] = str

    @property
    def primary(self) -> bool:
        """Whether this process writes the run folder and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's part of `items`: every `size`-th item. Parts differ by one item at most."""
        return items[self.rank :: self.size]

    def gather(self, value: T) -> list[T]:
        """Return the `value` of every process, by rank. It is pickled and sent over the CPU."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._talking():
            dist.all_gather_object(values, value)
        return values

    def from_primary(self, make: Callable[[], T]) -> T:
        """Return the result of `make` in the first process; `make` is called in no other process."""
        if self.size == 1:
            return make()
        values = [make() if self.primary else None]
        with self._talking():
            dist.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[return-value]

    def any(self, flag: bool) -> bool:
        """Whether it is so in at least one process: what all of them then act on."""
        return any(self.gather(flag))

    def maxima(self, *values: float) -> list[float]:
        """Return the largest of each value over the processes."""
        return [max(column) for column in zip(*self.gather(values), strict=True)]

    def agree(self, what: str, value: object, hint: str) -> None:
        """Raise UsageError unless `value` is equal in all processes."""
        values = self.gather(value)
        if different := [str(rank) for rank, other in enumerate(values) if other != values[0]]:
            raise UsageError(
                f"The processes of this run differ in {what}: {', '.join(different)} from process 0.", hint
            )

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """Let the first process of each machine through, then the others: it downloads, and they find the files."""
        if self.local_rank:
            self.gather(None)
        yield
        if not self.local_rank:
            self.gather(None)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up gradients over processes, in place and in float32; a process without gradient takes part with zeros.

        All of them travel as one vector: a LoRA adapter is hundreds of small tensors.
        """
        if self.size == 1:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in parameters])
        with self._talking():
            dist.all_reduce(flat)
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = summed.view_as(parameter).to(parameter.dtype)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what torch raises for a closed connection and for a time-out
            known = self.why()
            raise LostError(
                known or f"Process {self.rank} of {self.size} lost the others: {str(error).splitlines()[0]}",
                "" if known else "One was killed (out of memory?) or can't be reached. Continue with --resume.",
            ) from error


ALONE = World()
"""The only process of its run."""
