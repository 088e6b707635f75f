"""How many tokens go through the model at once: where they do not fit in memory half of them, from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class TokenBudget:
    """A number of tokens that becomes smaller when memory runs out, and stays so."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def run_within(self, work: Callable[[], T], least: int, halved: Callable[[], None]) -> T:
        """Do `work`; where it does not fit in memory, again from its start with half of the tokens.

        Args:
            least: tokens below which it is not tried: those of the longest sequence.
            halved: called before each new try.

        Raises:
            RuntimeError: `work` raised it. It is `out_of_memory` where `least` tokens do not fit either.
        """
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not out_of_memory(error) or self.tokens <= least:
                    raise
            # Outside of the handler: the error's frames, and the tensors in them, are gone.
            self.tokens = max(self.tokens // 2, least)
            halved()
            torch.cuda.empty_cache()  # does nothing where there is no GPU


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU (which has no error class of its own)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
