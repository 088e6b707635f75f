"""The protocol of a rollout engine as the training loop uses it. An engine is chosen once, when the run is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prerlkit.types import Completion, Prompt

Scores = list[list[float]]
"""Log-probs (nats, temperature 1) of each sequence's tokens from the second on."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        samples: completions per prompt.
        temperature: None is greedy.
        seed: of this batch; every completion's randomness is derived from it, its prompt's id and its index.
        top_p, top_k: cut the distribution that is drawn from (1.0 and 0: off).
    """

    samples: int
    max_new_tokens: int
    temperature: float | None
    seed: int
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, slots=True)
class WeightSync:
    """The cost of a weight sync, and how far the engine's copy is from the policy.

    Attributes:
        seconds: it took.
        drift: mean |log-prob of the engine − log-prob of the trainer| over the canary's tokens, nats. 0 without a copy.
        gain: how much of what the adapters change arrived in the engine. 1: all of it, once. 0: nothing, 2: twice.

    Of several copies the worst: the largest drift, the gain farthest from 1.
    """

    seconds: float = 0.0
    drift: float = 0.0
    gain: float = 1.0

    def __add__(self, other: WeightSync) -> WeightSync:
        """Return the two syncs as one: the sum of their seconds, and the worse of their canaries."""
        gain = max(self.gain, other.gain, key=lambda gain: abs(gain - 1.0))
        return WeightSync(self.seconds + other.seconds, max(self.drift, other.drift), gain)


class RolloutEngine(Protocol):
    """Samples completions from the current policy."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """Yield (index of the prompt, index of the sample, completion) as completions finish, in any order.

        Their log-probs are of the distribution at `sampling.temperature`: of the whole one (hf), or after the cut by
        top_p and top_k (vllm). An engine that shares the device with the training gives its memory back at the end.

        Raises:
            EngineError: the engine failed.
        """
        ...

    def sync_weights(self) -> WeightSync:
        """Load the current policy. Called before each batch of rollouts.

        Raises:
            EngineError: the engine failed.
            CanaryError: the engine's copy is not the policy.
        """
        ...

    def close(self) -> None: ...


class RemoteEngine(RolloutEngine, Protocol):
    """An engine that holds a copy of the policy, or several, which can drift: `rollout/canary.py` watches them."""

    def score(self, sequences: Sequence[tuple[int, ...]], *, adapter: bool) -> dict[str, Scores]:
        """Return every copy's scores, by the copy's name in a sentence; with or without the adapter."""
        ...


class PolicySource(Protocol):
    """The policy in training, as an engine with a copy and its canary use it."""

    def write_adapter(self, folder: Path, names: Mapping[str, str] | None = None) -> None:
        """Write all adapters of the policy as one PEFT folder. Nothing is written while there is none.

        Args:
            names: module → its name in the files that the engine serves, where that is another.
        """
        ...

    def release_memory(self) -> None:
        """Release unused device memory that the allocator keeps: an engine on the same device is about to wake up."""
        ...

    def score(self, sequences: Sequence[tuple[int, ...]]) -> Scores:
        """Return the scores of the current policy."""
        ...
