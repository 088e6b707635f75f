"""What the loop asks of a rollout engine. An engine is chosen once, when the run is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from prerlkit.types import Completion, Prompt


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        samples: completions per prompt.
        temperature: None is greedy.
        seed: of this batch; every completion's randomness is derived from it, its prompt's id and its index.
        top_p, top_k: cut the distribution that is drawn from (1.0 and 0: off). Log-probs are of the uncut one.
    """

    samples: int
    max_new_tokens: int
    temperature: float | None
    seed: int
    top_p: float = 1.0
    top_k: int = 0


class RolloutEngine(Protocol):
    """Samples completions from the current policy."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """Yield (index of the prompt, index of the sample, completion) as completions finish, in any order."""
        ...

    def hand_over(self) -> None:
        """Take over the policy as it is now. Called before each batch of rollouts."""
        ...

    def close(self) -> None: ...
