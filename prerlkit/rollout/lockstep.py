"""A rollout engine whose passes through the model are made by all processes together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prerlkit.rollout.protocol import RolloutEngine, Sampling, WeightSync
from prerlkit.types import Completion, Prompt


class LockstepEngine:
    """`engine`, followed by the wait for the other processes' last completions.

    Args:
        rejoin: makes empty passes with the others until all are done (`Policy.rejoin`).
    """

    def __init__(self, engine: RolloutEngine, rejoin: Callable[[], None]) -> None:
        self._engine = engine
        self._rejoin = rejoin

    def sync_weights(self) -> WeightSync:
        return self._engine.sync_weights()

    def close(self) -> None:
        self._engine.close()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`."""
        yield from self._engine.generate(prompts, sampling)
        self._rejoin()
