"""How many tokens go through the model at once: half as many, from then on, each time memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class TokenBudget:
    """A number of tokens that is halved when memory runs out. It never grows again."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def run_within(self, work: Callable[[], T], least: int, halved: Callable[[], None]) -> T:
        """Return the result of `work`. When memory runs out, start `work` again with half of the tokens.

        Args:
            least: the smallest number of tokens to try: those of the longest sequence.
            halved: called before each new try.

        Raises:
            RuntimeError: `work` raised it. `out_of_memory` is true of it when `least` tokens do not fit either.
        """
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not out_of_memory(error) or self.tokens <= least:
                    raise
            # Outside the handler: the error's frames, and the tensors in them, are freed.
            self.tokens = max(self.tokens // 2, least)
            halved()
            torch.cuda.empty_cache()  # does nothing where there is no GPU


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory, on a GPU or on the CPU (which has no error class for it)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
