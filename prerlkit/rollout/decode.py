"""The batch in decoding. Prompts enter with their groups, a step draws one token for each row, finished rows leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prerlkit.rollout.cache import NewCache, PreallocatedLayer, preallocated_cache
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.sampling import refuse_nan, sample_tokens
from prerlkit.seeds import uniforms
from prerlkit.types import Prompt

SHRINK_AT = 0.75
"""Share of unfinished rows at or below which finished rows are dropped from the cache. Each drop copies the cache."""

WHOLE_MASK = ("sdpa", "prerlkit_cpu", "prerlkit_cuda")
"""Implementations of attention that take a mask [B, 1, T, S] unchanged. With a mask [B, S] transformers checks for each
token whether it masks anything, and the host would wait for the answer."""
NextLogits = Callable[..., Tensor]
"""(base, inputs of its forward) → logits of the last position. [B, V]"""


@dataclass(frozen=True, slots=True)
class PromptGroup:
    """A prompt and the indices of its samples that are drawn together."""

    index: int
    prompt: Prompt
    drawn: range


@dataclass(slots=True)
class DecodeSequence:
    """One completion while it grows."""

    prompt: int
    sample: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    finished: bool = False


def logits_by_head(base: Any, **inputs: Any) -> Tensor:
    """Return logits by decoder and head, for a model whose head is plain."""
    # Two-dimensional and contiguous: on the strided [B, 1, D] that the model's own forward gives to its head, torch
    # copies the head's weight once for every sequence of a prefill (3.4 GiB and 5 s for 64 prompts of SmolLM2).
    states_BD = base.get_decoder()(**inputs).last_hidden_state[:, -1].contiguous()
    logits_BV: Tensor = base.get_output_embeddings()(states_BD)
    return logits_BV


def logits_by_model(base: Any, **inputs: Any) -> Tensor:
    """Return logits by the model's forward."""
    logits_BV: Tensor = base(**inputs, logits_to_keep=1).logits[:, -1]
    return logits_BV


class Batch:
    """Rows that are decoded together; `_rows` has the order of the tensors' first axis."""

    _cache: Any
    _mask_BT: Tensor
    _position_B1: Tensor
    _uniforms_BT: Tensor
    _drawn_B1: Tensor
    """The number of tokens that each row has drawn so far."""
    _last_B: Tensor
    _logits_BV: Tensor

    def __init__(
        self,
        base: Any,
        next_logits: NextLogits,
        sampling: Sampling,
        end_ids: Sequence[int],
        new_cache: NewCache = preallocated_cache,
    ) -> None:
        self._base = base
        self._new_cache = new_cache
        self._next_logits = next_logits
        self._sampling = sampling
        self._end_ids = frozenset(end_ids)
        self._rows: list[DecodeSequence] = []
        self.can_join = True

    @property
    def alive(self) -> int:
        """Rows that are not finished."""
        return sum(not row.finished for row in self._rows)

    @property
    def empty(self) -> bool:
        return self.alive == 0

    @torch.inference_mode()
    def step(self, entering: Sequence[PromptGroup]) -> list[DecodeSequence]:
        """Draw one token for every unfinished row, including those of `entering`; return the rows that finished."""
        if self._rows:
            self._shrink(always=bool(entering))
        if self._rows:
            self._advance()
        if entering:
            self._admit(entering)
        sampling = self._sampling
        uniforms_B = self._uniforms_BT.gather(1, self._drawn_B1)[:, 0]
        tokens_B, logprobs_B = sample_tokens(
            self._logits_BV, uniforms_B, sampling.temperature, sampling.top_p, sampling.top_k
        )
        self._last_B = tokens_B
        finished = []
        # One copy to the host for both, without rounding: the host waits for the device once per token.
        drawn = torch.stack([tokens_B.double(), logprobs_B.double()]).tolist()
        for row, token, logprob in zip(self._rows, map(int, drawn[0]), drawn[1], strict=True):
            if row.finished:
                continue
            refuse_nan(logprob)
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.ended = token in self._end_ids
            row.finished = row.ended or len(row.tokens) == sampling.max_new_tokens
            if row.finished:
                finished.append(row)
        return finished

    def _shrink(self, *, always: bool) -> None:
        """Drop the finished rows and the columns that only they used, if that saves time or `always`."""
        growing = self.can_join and self._cache.layers[0].full  # the cache is about to be copied anyway
        keep = [i for i, row in enumerate(self._rows) if not row.finished]
        if len(keep) < len(self._rows) and (always or growing or len(keep) <= SHRINK_AT * len(self._rows)):
            self._keep(keep)
        if self._rows and growing:
            from prerlkit.rollout.cache import cut

            self._mask_BT = cut(self._cache, self._mask_BT)

    def _keep(self, keep: list[int]) -> None:
        """Keep these rows only."""
        self._rows = [self._rows[i] for i in keep]
        if not keep:
            self._cache = None  # before the next prompts allocate theirs
            return
        kept = torch.tensor(keep, device=self._mask_BT.device)
        self._cache.reorder_cache(kept)  # of states and keys alike
        self._mask_BT, self._position_B1 = self._mask_BT[kept], self._position_B1[kept]
        self._uniforms_BT, self._drawn_B1 = self._uniforms_BT[kept], self._drawn_B1[kept]
        self._last_B = self._last_B[kept]

    def _advance(self) -> None:
        """Feed the last tokens."""
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(self._mask_BT), 1)], dim=-1)
        self._position_B1 = self._position_B1 + 1
        # A finished row that is still in the batch has used all of its random numbers; its further tokens are not kept.
        self._drawn_B1 = (self._drawn_B1 + 1).clamp(max=self._sampling.max_new_tokens - 1)
        mask = self._mask_BT
        if self.can_join and self._base.config._attn_implementation in WHOLE_MASK:
            room = self._cache.layers[0].get_mask_sizes(1)[0] - mask.shape[1]
            mask = torch.nn.functional.pad(mask.bool(), (0, room))[:, None, None]
        self._logits_BV = self._forward(self._last_B[:, None], mask, self._position_B1, self._cache)

    def _admit(self, units: Sequence[PromptGroup]) -> None:
        """Run the prompts of `units` once, repeat them for their samples, and append them to the present rows."""
        from prerlkit.rollout.cache import join

        device = self._base.device
        tokens_PT, mask_PT = _left_padded([unit.prompt for unit in units])
        tokens_PT, mask_PT = tokens_PT.to(device), mask_PT.to(device)
        positions_PT = (mask_PT.cumsum(-1) - 1).clamp(min=0)
        cache = self._new_cache(self._base.config, self._sampling.max_new_tokens)
        logits_PV = self._forward(tokens_PT, mask_PT, positions_PT, cache)
        owner_B = torch.tensor([p for p, unit in enumerate(units) for _ in unit.drawn], device=device)
        cache.reorder_cache(owner_B)
        seed, most = self._sampling.seed, self._sampling.max_new_tokens
        numbers = [uniforms(seed, most, unit.prompt.id, sample) for unit in units for sample in unit.drawn]
        new = {
            "_mask_BT": mask_PT[owner_B],
            "_position_B1": positions_PT[owner_B, -1:],
            "_logits_BV": logits_PV[owner_B],
            "_uniforms_BT": torch.from_numpy(np.stack(numbers)).to(device),
            "_drawn_B1": torch.zeros(len(owner_B), 1, dtype=torch.long, device=device),
        }
        if self._rows:
            self._mask_BT, new["_mask_BT"] = join(self._cache, self._mask_BT, cache, new["_mask_BT"])
            new = {name: torch.cat([getattr(self, name), tensor]) for name, tensor in new.items()}
        else:
            self._cache = cache
        for name, tensor in new.items():
            setattr(self, name, tensor)
        self.can_join = all(isinstance(layer, PreallocatedLayer) for layer in self._cache.layers)
        self._rows += [DecodeSequence(unit.index, sample) for unit in units for sample in unit.drawn]

    def _forward(self, tokens_BT: Tensor, mask_BT: Tensor, positions_BT: Tensor, cache: Any) -> Tensor:
        """Return the logits of the last position. [B, V]"""
        return self._next_logits(
            self._base,
            input_ids=tokens_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
        )


def _left_padded(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Return tokens and mask [P, T], padded in front: every row's next token is in the same column."""
    width = max(len(prompt.token_ids) for prompt in prompts)
    tokens_PT = torch.zeros(len(prompts), width, dtype=torch.long)
    mask_PT = torch.zeros(len(prompts), width, dtype=torch.long)
    for p, prompt in enumerate(prompts):
        tokens_PT[p, width - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
        mask_PT[p, width - len(prompt.token_ids) :] = 1
    return tokens_PT, mask_PT
