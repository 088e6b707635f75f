"""The order of prompts or demonstrations: a pure function of seed and position. To resume needs the position only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from prerlkit.seeds import derive

T = TypeVar("T")


class PromptStream(Generic[T]):
    """The endless sequence of epochs over `prompts`; it has no position.

    Args:
        prompts: the train prompts, or a supervised stage's demonstrations; at least one.
        seed: the recipe's.
        shuffle: each epoch has a different order, decided by (seed, epoch). False: always the given order.
    """

    def __init__(self, prompts: Sequence[T], seed: int, shuffle: bool) -> None:
        if not prompts:
            raise ValueError("a stream needs at least one prompt")
        self._prompts = prompts
        self._seed = seed
        self._shuffle = shuffle
        self._last: tuple[int, np.ndarray] | None = None  # an epoch and its order: a million rows take 0.2 s

    def batch(self, start: int, count: int) -> list[T]:
        """Return the prompts start … start + count - 1 since the run began, also across the end of an epoch."""
        if start < 0 or count < 0:
            raise ValueError(f"start and count must not be negative, not {start} and {count}")
        found: list[T] = []
        while len(found) < count:
            epoch, place = divmod(start + len(found), len(self._prompts))
            if self._last is None or self._last[0] != epoch:
                self._last = epoch, self.order(epoch)
            found += [self._prompts[i] for i in self._last[1][place : place + count - len(found)].tolist()]
        return found

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of the prompts in the order of that epoch. [number of prompts]"""
        count = len(self._prompts)
        if not self._shuffle:
            return np.arange(count)
        # Sorted raw draws rather than Generator.permutation: numpy promises to keep only the former as they are, and
        # a run may be resumed under another numpy.
        return np.argsort(np.random.Philox(derive(self._seed, "epoch", epoch)).random_raw(count), kind="stable")
