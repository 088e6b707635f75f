"""The rollout engine inside the training process: any transformers causal LM, the live policy itself.

Each prompt goes through the model once, and its cache is repeated for its group. Finished completions leave the batch,
and waiting prompts take their places. Sampled tokens keep their log-probs and need no second scoring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prerlkit.rollout.cache import NewCache, preallocated_cache
from prerlkit.rollout.decode import Batch, DecodeSequence, PromptGroup, logits_by_head, logits_by_model
from prerlkit.rollout.linears import FusedLora
from prerlkit.rollout.protocol import Sampling, WeightSync
from prerlkit.rollout.text import completion_text
from prerlkit.types import Completion, Prompt

ADMIT_AT = 0.25
"""Waiting prompts enter when this share of the places is free: each entry copies the cache and runs a prefill."""


class InProcessEngine:
    """The part of an engine that samples from this process's own model: no weights to sync, nothing to release."""

    def sync_weights(self) -> WeightSync:
        return WeightSync()

    def close(self) -> None: ...


class HfEngine(InProcessEngine):
    """Samples from the model that is being trained: no weights are synced, so nothing can drift.

    Args:
        base: the causal LM, adapters in place.
        tokenizer: for decoding.
        end_ids: tokens that end a completion.
        max_sequences: completions decoded at once.
        plain_head: whether head(decoder(x)) is the model's own logits (`base.head_is_plain`).
        new_cache: makes the cache of prompts that enter.
    """

    def __init__(
        self,
        base: Any,
        tokenizer: Any,
        end_ids: Sequence[int],
        max_sequences: int,
        *,
        plain_head: bool,
        new_cache: NewCache = preallocated_cache,
    ) -> None:
        self._base = base
        self._next_logits = logits_by_head if plain_head else logits_by_model
        self._tokenizer = tokenizer
        self._end_ids = tuple(end_ids)
        self._max_sequences = max_sequences
        self._linears = FusedLora(base)
        self._new_cache = new_cache

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`. Prompts of like length are decoded together to keep padding small."""
        self._base.eval()
        waiting = self._units(prompts, sampling.samples)
        batch = Batch(self._base, self._next_logits, sampling, self._end_ids, self._new_cache)
        with self._linears.sampling():
            while waiting or not batch.empty:
                for row in batch.step(self._next(waiting, batch)):
                    yield row.prompt, row.sample, self._completion(row)

    def _units(self, prompts: Sequence[Prompt], samples: int) -> list[PromptGroup]:
        """Return the units that enter the batch together: a prompt with its samples, or with as many as fit."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        most = min(samples, self._max_sequences)
        starts = range(0, samples, most)
        return [PromptGroup(i, prompts[i], range(s, min(s + most, samples))) for s in starts for i in order]

    def _next(self, waiting: list[PromptGroup], batch: Batch) -> list[PromptGroup]:
        """Take from `waiting` the units that have a place now."""
        room = self._max_sequences - batch.alive
        if not (batch.empty or (batch.can_join and room >= ADMIT_AT * self._max_sequences)):
            return []
        taken: list[PromptGroup] = []
        while waiting and len(waiting[0].drawn) <= room:
            taken.append(waiting.pop(0))
            room -= len(taken[-1].drawn)
        return taken

    def _completion(self, row: DecodeSequence) -> Completion:
        text = completion_text(self._tokenizer, row.tokens, self._end_ids)
        return Completion(tuple(row.tokens), text, tuple(row.logprobs), truncated=not row.ended)
