"""The slow engine in the training process, for models whose cache the fast one can't repeat, pad and cut.

transformers' `generate` keeps the cache. The tokens are drawn by `sampling.py`, so samples have the same randomness and
recorded log-probs as with the fast engine. Prompts of equal length are decoded together: no model needs padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prerlkit.rollout.cache import NewCache, growing_cache, preallocated_cache
from prerlkit.rollout.hf import HfEngine, InProcessEngine
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.rollout.sampling import refuse_nan, sample_tokens
from prerlkit.rollout.text import completion_text
from prerlkit.seeds import uniforms
from prerlkit.types import Completion, Prompt

TOLERANCE = {torch.float32: 1e-3}
"""Largest difference, relative to the largest logit, at which decoding with the cache counts as correct."""
TOLERANCE_16_BIT = 0.1
"""The same where sums round to 16 bits."""


def local_engine(
    base: Any, tokenizer: Any, end_ids: Sequence[int], max_sequences: int, *, plain_head: bool
) -> tuple[RolloutEngine, str | None]:
    """Return the fastest engine that samples from `base` correctly, and a note if it is not the usual engine."""
    problem = ""
    for new_cache in CACHES:
        found = decoding_problem(base, new_cache)
        if found is None:
            engine = HfEngine(base, tokenizer, end_ids, max_sequences, plain_head=plain_head, new_cache=new_cache)
            return engine, None
        problem = problem or found
    note = f"this model decodes through transformers' generate, several times slower: {problem}"
    return GenerateEngine(base, tokenizer, end_ids, max_sequences), note


CACHES = (preallocated_cache, growing_cache)
"""The fast engine's caches, the faster one first."""
CACHE_ERRORS = (AttributeError, TypeError, ValueError, RuntimeError, IndexError)
"""What a model raises when it can't decode with one of `CACHES`. NotImplementedError is a RuntimeError."""


@torch.no_grad()
def decoding_problem(base: Any, new_cache: NewCache = preallocated_cache) -> str | None:
    """Return why batched decoding with a repeated, left-padded cache is wrong for this model; None when it is right.

    Measured on the model itself: two prompts of different lengths, padded, and three tokens after them.
    """
    from prerlkit.rollout.decode import Batch, PromptGroup, logits_by_model

    prompts = [Prompt("a", "", (3, 5, 7, 9, 11)), Prompt("b", "", (4, 6))]
    sampling = Sampling(2, 3, None, seed=0)
    tolerance = TOLERANCE.get(base.dtype, TOLERANCE_16_BIT)
    try:
        batch = Batch(base, logits_by_model, sampling, (), new_cache)
        entering = [PromptGroup(i, prompt, range(2)) for i, prompt in enumerate(prompts)]
        rows = [*batch.step(entering), *batch.step([]), *batch.step([])]
        for row in rows:
            ids = (*prompts[row.prompt].token_ids, *row.tokens)
            logits_TV = base(input_ids=torch.tensor([ids], device=base.device), use_cache=False).logits[0].float()
            own_T = logits_TV.log_softmax(-1)[-4:-1].gather(-1, torch.tensor(row.tokens, device=base.device)[:, None])
            difference = (own_T[:, 0].cpu() - torch.tensor(row.logprobs)).abs().max()
            if not difference <= tolerance * logits_TV.abs().max().cpu().clamp(min=1.0):
                return "its logits with a padded, repeated cache are not those without"
    except CACHE_ERRORS as error:
        return (
            f"its cache is of another kind ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        )
    return None


class GenerateEngine(InProcessEngine):
    """Samples by `base.generate`. Arguments as of `HfEngine`."""

    def __init__(self, base: Any, tokenizer: Any, end_ids: Sequence[int], max_sequences: int) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._end_ids = tuple(end_ids)
        self._max_sequences = max_sequences

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`."""
        self._base.eval()
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        for _, alike in groupby(order, key=lambda i: len(prompts[i].token_ids)):
            wanted = [(i, s) for i in alike for s in range(sampling.samples)]
            for start in range(0, len(wanted), self._max_sequences):
                rows = wanted[start : start + self._max_sequences]
                for (i, s), completion in zip(rows, self._together(prompts, rows, sampling), strict=True):
                    yield i, s, completion

    @torch.inference_mode()
    def _together(
        self, prompts: Sequence[Prompt], rows: Sequence[tuple[int, int]], sampling: Sampling
    ) -> list[Completion]:
        from transformers import LogitsProcessorList

        device = self._base.device
        numbers = np.stack([uniforms(sampling.seed, sampling.max_new_tokens, prompts[i].id, s) for i, s in rows])
        drawing = _Drawing(torch.from_numpy(numbers).to(device), sampling)
        tokens_BT = torch.tensor([prompts[i].token_ids for i, _ in rows], device=device)
        ends = list(self._end_ids) or None
        self._base.generate(
            input_ids=tokens_BT,
            attention_mask=torch.ones_like(tokens_BT),
            do_sample=False,
            num_beams=1,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=ends,
            pad_token_id=ends[0] if ends else 0,
            logits_processor=LogitsProcessorList([drawing]),
        )
        tokens, logprobs = torch.stack(drawing.tokens, 1).tolist(), torch.stack(drawing.logprobs, 1).tolist()
        return [self._completion(*row) for row in zip(tokens, logprobs, strict=True)]

    def _completion(self, tokens: list[int], logprobs: list[float]) -> Completion:
        for logprob in logprobs:
            refuse_nan(logprob)
        end = next((t for t, token in enumerate(tokens) if token in self._end_ids), None)
        length = len(tokens) if end is None else end + 1
        text = completion_text(self._tokenizer, tokens[:length], self._end_ids)
        return Completion(tuple(tokens[:length]), text, tuple(logprobs[:length]), truncated=end is None)


class _Drawing:
    """A logits processor that draws the token itself and leaves `generate` no other choice."""

    def __init__(self, uniforms_BT: Tensor, sampling: Sampling) -> None:
        self._uniforms_BT = uniforms_BT
        self._sampling = sampling
        self.tokens: list[Tensor] = []
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        sampling = self._sampling
        uniforms_B = self._uniforms_BT[:, len(self.tokens)]
        tokens_B, logprobs_B = sample_tokens(scores, uniforms_B, sampling.temperature, sampling.top_p, sampling.top_k)
        self.tokens.append(tokens_B)
        self.logprobs.append(logprobs_B)
        return torch.full_like(scores, float("-inf")).scatter(1, tokens_B[:, None], 0.0)
