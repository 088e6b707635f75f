"""The vLLM engine: prompts' own token ids in, token ids and their log-probs out, the policy's adapters as one adapter.

Each weight sync writes the adapters of all stages as *one* PEFT folder (`policy/save.py`) under a new path, which
replaces the one before. Nothing is ever merged into the engine's weights, so nothing can count twice. The connection
to vLLM is a client: an engine that the run started (`vllm_local.py`), a server (`vllm_server.py`), or several servers
that share the work (`data_parallel.py`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prerlkit.errors import EngineError, UsageError
from prerlkit.rollout.protocol import PolicySource, Sampling, Scores, WeightSync
from prerlkit.seeds import derive
from prerlkit.types import Completion, Prompt

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM 0.32 takes as max_lora_rank."""
NAME = "prerlkit"
"""Of the adapter, inside the engine."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one completion.

    Attributes:
        salt: of the prefix cache. Keys and values computed with an earlier adapter must not be found again.
    """

    token_ids: tuple[int, ...]
    seed: int
    salt: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """vLLM's answer to the request at `index`."""

    index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


Answers = Generator[Sampled, None, None]
"""The answers as they arrive. Closed before its end, it cancels the remaining requests."""


class GoneError(EngineError):
    """The engine behind a client is dead or out of reach: a retry can't help, another engine may."""


class AbortedError(GoneError):
    """A completion that its engine broke off: its end is not the policy's, so it must not be judged."""


def check_finished(reason: str | None, who: str) -> None:
    """Raise AbortedError unless a completion ended by its own end token or at its limit of tokens.

    vLLM returns a request that it aborted (on a signal, or while it shuts down) as a finished one.

    Args:
        reason: `finish_reason` as vLLM gives it.
        who: the sampling engine, as the subject of the message.
    """
    if reason not in ("stop", "length"):
        raise AbortedError(
            f"{who} broke a completion off before its end (finish_reason: {reason}).",
            "It is shutting down, or something stopped it. The run continues from its last checkpoint with --resume.",
        )


class Client(Protocol):
    """The part of vLLM that the engine uses. Every call raises EngineError when vLLM fails."""

    def wake(self) -> None:
        """Take the memory that sampling needs. Nothing happens to a client that is awake."""
        ...

    def rest(self) -> None:
        """Give it back."""
        ...

    def load(self, folder: Path) -> None:
        """Replace the present adapter by the one in `folder`."""
        ...

    def sample(self, requests: Sequence[Request], sampling: Sampling, end_ids: Sequence[int]) -> Answers:
        """Yield completions as they finish, in any order, with their end tokens. An aborted one raises AbortedError."""
        ...

    def score(self, sequences: Sequence[tuple[int, ...]], *, adapter: bool) -> dict[str, Scores]:
        """See `RemoteEngine.score`."""
        ...

    def close(self) -> None: ...


class VllmEngine:
    """A `RemoteEngine` on vLLM.

    Args:
        client: started and awake.
        trainer: whose adapters are loaded.
        decode: token ids to text (`rollout.text.completion_text`).
        end_ids: tokens that end a completion.
        folder: for adapters on their way, seen by the client under the same path. Removed by `close`.
        names: module → its name in the served files, where the names differ. vLLM maps names of files to its layers,
            and drops an adapter on a name that it doesn't know without an error.
    """

    def __init__(
        self,
        client: Client,
        trainer: PolicySource,
        decode: Callable[[Sequence[int]], str],
        end_ids: Sequence[int],
        folder: Path,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._trainer = trainer
        self._decode = decode
        self._end_ids = tuple(end_ids)
        self._folder = folder.absolute()
        self._names = names
        self._version = 0

    def sync_weights(self) -> WeightSync:
        """Wake the engine and load the current adapters."""
        begun = time.perf_counter()
        self._trainer.release_memory()
        self._client.wake()
        before = self._place()
        self._version += 1
        self._trainer.write_adapter(self._place(), self._names)
        self._client.load(self._place())
        shutil.rmtree(before, ignore_errors=True)
        return WeightSync(time.perf_counter() - begun)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`. A group's requests are adjacent, so that they share their prompt's cache."""
        salt = self._place().name
        requests = [
            Request(prompt.token_ids, derive(sampling.seed, prompt.id, sample), salt)
            for prompt in prompts
            for sample in range(sampling.samples)
        ]
        try:
            for sampled in self._client.sample(requests, sampling, self._end_ids):
                ids = sampled.token_ids
                completion = Completion(
                    ids, self._decode(ids), sampled.logprobs, truncated=ids[-1] not in self._end_ids
                )
                yield *divmod(sampled.index, sampling.samples), completion
        finally:
            self._client.rest()

    def score(self, sequences: Sequence[tuple[int, ...]], *, adapter: bool) -> dict[str, Scores]:
        """See `RemoteEngine.score`."""
        return self._client.score(sequences, adapter=adapter)

    def close(self) -> None:
        self._client.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self) -> Path:
        """Return the folder of the present adapter. A new path each time: vLLM finds cached prefixes by it."""
        return self._folder / f"adapter-{self._version}"


def rank_for(rank: int) -> int:
    """Return the smallest max_lora_rank of vLLM's that holds an adapter of `rank`.

    Raises:
        UsageError: there is none.
    """
    fitting = [r for r in RANKS if r >= rank]
    if not fitting:
        raise UsageError(
            f"The stages together make an adapter of rank {rank}; vLLM takes at most {RANKS[-1]}.",
            "Lower adapter.rank, or use rollout.engine: hf.",
        )
    return fitting[0]
