"""The rollout engine inside the training process: any transformers causal LM, the live policy itself.

Each prompt goes through the model once, its cache is repeated for its group, and finished completions leave the batch.
Sampled tokens keep their log-probs, so that nothing has to be scored again for the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.sampling import draw
from prerlkit.seeds import uniforms
from prerlkit.types import Completion, Prompt

SHRINK_AT = 0.75
"""Finished sequences are dropped from the cache when no more than this share is alive: each drop copies the cache."""

NextLogits = Callable[..., Tensor]
"""(base, inputs of its forward) → logits of the last position. [B, V]"""


def _logits_by_head(base: Any, **inputs: Any) -> Tensor:
    # Two-dimensional and contiguous: on the strided [B, 1, D] that the model's own forward gives to its head, torch
    # copies the head's weight once for every sequence of a prefill (3.4 GiB and 5 s for 64 prompts of SmolLM2).
    states_BD = base.get_decoder()(**inputs).last_hidden_state[:, -1].contiguous()
    logits_BV: Tensor = base.get_output_embeddings()(states_BD)
    return logits_BV


def _logits_by_model(base: Any, **inputs: Any) -> Tensor:
    logits_BV: Tensor = base(**inputs, logits_to_keep=1).logits[:, -1]
    return logits_BV


class HfEngine:
    """Samples from the model that is being trained: nothing is handed over, so nothing can drift.

    Args:
        base: the causal LM, adapters in place.
        tokenizer: for decoding.
        end_ids: tokens that end a completion.
        max_sequences: completions decoded at once.
        plain_head: whether head(decoder(x)) is the model's own logits (`base.head_is_plain`).
    """

    def __init__(
        self, base: Any, tokenizer: Any, end_ids: Sequence[int], max_sequences: int, *, plain_head: bool
    ) -> None:
        self._base = base
        self._next_logits = _logits_by_head if plain_head else _logits_by_model
        self._tokenizer = tokenizer
        self._end_ids = torch.tensor(list(end_ids), device=base.device)
        self._max_sequences = max_sequences

    def hand_over(self) -> None:
        """Nothing to do: the policy is this process's own model."""

    def close(self) -> None:
        """Nothing to release."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`. Prompts of like length are decoded together to keep padding small."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        samples = min(sampling.samples, self._max_sequences)
        width = max(1, self._max_sequences // samples)
        self._base.eval()
        for first in range(0, sampling.samples, samples):
            drawn = range(first, min(first + samples, sampling.samples))
            for start in range(0, len(order), width):
                yield from self._wave(prompts, order[start : start + width], drawn, sampling)

    def _wave(
        self, prompts: Sequence[Prompt], chosen: Sequence[int], drawn: range, sampling: Sampling
    ) -> Iterator[tuple[int, int, Completion]]:
        wave = _Wave(self._base, self._next_logits, [prompts[i] for i in chosen], drawn, sampling)
        for _ in range(sampling.max_new_tokens):
            for row in wave.step(self._end_ids):
                prompt, sample = divmod(row, len(drawn))
                yield chosen[prompt], drawn[sample], self._completion(wave, row)
            if wave.empty:
                return

    def _completion(self, wave: _Wave, row: int) -> Completion:
        ids = tuple(wave.tokens[row])
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return Completion(ids, text, tuple(wave.logprobs[row]), truncated=not wave.ended[row])


class _Wave:
    """The state of one batch being decoded. Rows are prompt-major: row = prompt · samples + sample.

    `tokens`, `logprobs` and `ended` are by row; `_alive` holds the rows that are still in the cache.
    """

    def __init__(
        self, base: Any, next_logits: NextLogits, prompts: Sequence[Prompt], drawn: range, sampling: Sampling
    ) -> None:
        self._base = base
        self._next_logits = next_logits
        self._sampling = sampling
        device = base.device
        rows = len(prompts) * len(drawn)
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.logprobs: list[list[float]] = [[] for _ in range(rows)]
        self.ended = [False] * rows
        self._alive = torch.arange(rows, device=device)
        self._finished = torch.zeros(rows, dtype=torch.bool, device=device)
        draws = [uniforms(sampling.seed, sampling.max_new_tokens, p.id, s) for p in prompts for s in drawn]
        self._uniforms_BT = torch.from_numpy(np.stack(draws)).to(device)
        self._step = 0
        self._prefill(prompts, len(drawn))

    @property
    def empty(self) -> bool:
        return bool(self._finished.all())

    @torch.inference_mode()
    def _prefill(self, prompts: Sequence[Prompt], samples: int) -> None:
        from transformers import DynamicCache

        width = max(len(p.token_ids) for p in prompts)
        tokens_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        mask_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        for i, prompt in enumerate(prompts):  # left padding: every row's next token is in the same column
            tokens_PT[i, width - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
            mask_PT[i, width - len(prompt.token_ids) :] = 1
        tokens_PT, mask_PT = tokens_PT.to(self._base.device), mask_PT.to(self._base.device)
        positions_PT = (mask_PT.cumsum(-1) - 1).clamp(min=0)
        self._cache = DynamicCache(config=self._base.config)
        logits_PV = self._forward(tokens_PT, mask_PT, positions_PT)
        self._cache.batch_repeat_interleave(samples)
        self._mask_BT = mask_PT.repeat_interleave(samples, dim=0)
        self._position_B1 = positions_PT[:, -1:].repeat_interleave(samples, dim=0)
        self._logits_BV = logits_PV.repeat_interleave(samples, dim=0)

    def _forward(self, tokens_BT: Tensor, mask_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Logits of the last position. [B, V]"""
        return self._next_logits(
            self._base,
            input_ids=tokens_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=self._cache,
            use_cache=True,
        )

    @torch.inference_mode()
    def step(self, end_ids: Tensor) -> list[int]:
        """Draw one token for every row alive; gives the rows that finished, by an end token or the limit."""
        sampling = self._sampling
        if self._step:
            self._advance()
        tokens_B, logprobs_B = draw(
            self._logits_BV, self._uniforms_BT[:, self._step], sampling.temperature, sampling.top_p, sampling.top_k
        )
        self._step += 1
        ends_B = torch.isin(tokens_B, end_ids)
        done_B = ends_B | (self._step == sampling.max_new_tokens)
        finished = []
        columns = (self._alive, self._finished, tokens_B, logprobs_B, ends_B, done_B)
        for row, was_finished, token, logprob, end, done in zip(*(c.tolist() for c in columns), strict=True):
            if was_finished:
                continue
            self.tokens[row].append(token)
            self.logprobs[row].append(logprob)
            if done:
                self.ended[row] = end
                finished.append(row)
        self._finished = self._finished | done_B
        self._last_B = tokens_B
        return finished

    def _advance(self) -> None:
        """Feed the last tokens, after dropping finished rows where that pays."""
        keep = (~self._finished).nonzero()[:, 0]
        if len(keep) <= SHRINK_AT * len(self._finished):
            self._cache.batch_select_indices(keep)
            self._alive, self._finished = self._alive[keep], self._finished[keep]
            self._mask_BT, self._position_B1 = self._mask_BT[keep], self._position_B1[keep]
            self._uniforms_BT, self._last_B = self._uniforms_BT[keep], self._last_B[keep]
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(self._mask_BT), 1)], dim=-1)
        self._position_B1 = self._position_B1 + 1
        self._logits_BV = self._forward(self._last_B[:, None], self._mask_BT, self._position_B1)
