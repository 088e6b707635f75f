"""The rollout engine of transformers' continuous batching: the live policy and a paged cache.

No weights are copied and none are synced. The cache is allocated for one batch of rollouts and freed after it. Its
attention, and CUDA graphs on a card, are not the trainer's kernels: importance weights carry the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from prerlkit.errors import EngineError
from prerlkit.rollout.hf import InProcessEngine
from prerlkit.rollout.linears import FusedLora
from prerlkit.rollout.memory import key_width
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.text import completion_text
from prerlkit.seeds import derive
from prerlkit.types import Completion, Prompt

PAGE = 256
"""Tokens of a page of the cache: transformers' default in all versions that we take."""
BATCH_TOKENS = 2048
"""Tokens of one forward pass, at most; a longer prompt is cut. transformers' own 8,192 wants a larger mask."""
MEMORY_SHARE = 0.95
"""Largest share of the free memory that transformers may take for its pages."""


@dataclass(frozen=True, slots=True)
class PagedMemory:
    """Bytes of the engine.

    Attributes:
        page: of `PAGE` tokens in all layers, with the copies of keys and values that transformers makes to read them.
        work: independent of the number of pages: a pass of `BATCH_TOKENS`, and the logits.
    """

    page: int
    work: int


def paged_memory(config: Any, sequences: int, item: int = 2) -> PagedMemory:
    """Return the bytes for a model of transformers' `config`, by the same terms as its `PagedAttentionMemoryHandler`.

    Without FlashAttention: its mask [tokens of the pass, tokens of the cache], and keys and values of one layer at a
    time, expanded to the query heads.

    Args:
        sequences: decoded together.
        item: bytes of a number of the cache.
    """
    width = key_width(config)
    queries = config.num_attention_heads * (width // _key_heads(config))
    token = config.num_hidden_layers * 2 * width * item
    read = (2 * queries + width) * item + BATCH_TOKENS * item  # with its column of the mask
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    of_pass = BATCH_TOKENS * (2 * config.hidden_size + queries + 2 * inner + BATCH_TOKENS) * item
    logits = 4 * sequences * config.vocab_size * 4  # logits, scores, probabilities and a copy, in float32
    return PagedMemory(PAGE * (token + read), of_pass + logits)


def pages_of(length: int) -> int:
    """Return the pages of a sequence of `length` tokens; the last page may be almost empty."""
    return -(-(length + 1) // PAGE)


class ContinuousEngine(InProcessEngine):
    """Samples from `base` by `continuous_batching_context_manager`, on which `generate_batch` is built.

    Args:
        base: the causal LM, adapters in place.
        tokenizer: for decoding.
        end_ids: tokens that end a completion.
        max_sequences: completions decoded at once.
        pages: of the cache; fewer where the device has no room for them.
    """

    def __init__(self, base: Any, tokenizer: Any, end_ids: Sequence[int], max_sequences: int, pages: int) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._end_ids = tuple(end_ids)
        self._max_sequences = max_sequences
        self._pages = pages
        self._linears = FusedLora(base)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`. A group's requests are adjacent: they share their prompt's pages."""
        self._base.eval()
        waiting = {f"{i}/{s}": (i, s) for i in range(len(prompts)) for s in range(sampling.samples)}
        with self._linears.sampling(), self._paged_attention(), _own_randomness(), self._manager(sampling) as manager:
            for name, (i, _) in waiting.items():
                manager.add_request(
                    list(prompts[i].token_ids), name, sampling.max_new_tokens, eos_token_id=list(self._end_ids) or -1
                )
            while waiting:
                result = manager.get_result(timeout=1.0)
                if result is not None and result.is_finished():
                    yield *waiting.pop(result.request_id), self._completion(result)
                elif result is None and not manager.is_running():
                    raise EngineError(
                        "transformers' continuous batching stopped before all requests were complete.",
                        "Look at the lines above. If memory ran out, lower rollout.max_sequences; rollout.engine: hf "
                        "needs less.",
                    )

    def _manager(self, sampling: Sampling) -> Any:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        greedy = sampling.temperature is None
        drawing: dict[str, Any] = {"do_sample": False}
        if not greedy:
            drawing = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
            }
        ends = list(self._end_ids)
        return self._base.continuous_batching_context_manager(
            generation_config=GenerationConfig(
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=ends or -1,
                pad_token_id=ends[0] if ends else 0,
                **drawing,
            ),
            continuous_batching_config=ContinuousBatchingConfig(
                num_blocks=self._affordable_pages(),
                max_batch_tokens=BATCH_TOKENS,
                max_requests_per_batch=self._max_sequences,
                max_memory_percent=MEMORY_SHARE,
                return_logprobs=True,
                seed=derive(sampling.seed, "continuous") % 2**32,
            ),
        )

    def _affordable_pages(self) -> int:
        if self._base.device.type != "cuda":
            return self._pages
        torch.cuda.empty_cache()
        need = paged_memory(self._base.config.get_text_config(), self._max_sequences)
        free, _ = torch.cuda.mem_get_info()
        return max(1, min(self._pages, int((MEMORY_SHARE * free - need.work) // need.page)))

    @contextmanager
    def _paged_attention(self) -> Iterator[None]:
        """Allow transformers' paged kernels, which replace only its own attention; then restore the trainer's."""
        before = self._base.config._attn_implementation
        if before.startswith("prerlkit"):
            self._base.set_attn_implementation("sdpa")
        try:
            yield
        finally:
            if self._base.config._attn_implementation != before:
                self._base.set_attn_implementation(before)
            if self._base.device.type == "cuda":
                torch.cuda.empty_cache()

    def _completion(self, result: Any) -> Completion:
        if result.error is not None:
            raise EngineError(f"transformers' continuous batching failed: {result.error}")
        ids = tuple(result.generated_tokens)
        text = completion_text(self._tokenizer, ids, self._end_ids)
        return Completion(ids, text, tuple(result.logprobs), truncated=ids[-1] not in self._end_ids)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Save and restore torch's global generators, which the engine seeds."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else []):
        yield


def _key_heads(config: Any) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
