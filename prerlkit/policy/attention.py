"""Attention: of packed rows, and on a CPU of few queries by two matrix products on keys not expanded to their heads.

torch's fused kernel is made for long sequences. With one query a sequence (decoding) it is 5 to 12 times slower than
two `bmm`, and training it on short sequences 2 to 8 times (`python -m benchmarks.attention`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prerlkit.policy.packed import Packed

NAMES = {"cpu": "prerlkit_cpu", "cuda": "prerlkit_cuda"}
"""What transformers knows these by."""
MOST_QUERIES = 64
"""Above this many queries a sequence the fused kernel is faster; measured on two x86-64 cores, bfloat16."""
MOST_QUERIES_WITH_GRADIENT = 128
"""The same in training, where the fused kernel's backward is slow."""


def use_own_attention(base: Any, device_type: str) -> None:
    """Let a model that uses torch's fused attention take packed rows, and on a CPU the products below where faster."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if base.config._attn_implementation != "sdpa":
        return
    name = NAMES["cpu" if device_type == "cpu" else "cuda"]
    AttentionInterface.register(name, on_cpu if device_type == "cpu" else on_cuda)
    AttentionMaskInterface.register(name, sdpa_mask)
    base.set_attn_implementation(name)


Attention = Callable[..., tuple[Tensor, None]]


def taking_packed_rows(kernel: Attention) -> Attention:
    """Return what transformers calls as attention: `kernel` on an ordinary batch, or on the blocks of a packed row.

    Heads first, [B, H, T, D] and [B, K, S, D]; gives [B, T, H, D]. `attention_mask` is boolean [B, 1, T, S], True where
    a key is seen, or None for plain causal attention; a packed row has its own masks.
    """

    def attention(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        packed: Packed | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        if packed is None:
            return kernel(module, query, key, value, attention_mask, **others)
        window = others.pop("sliding_window", None)

        def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
            return kernel(module, q, k, v, seen, **others)[0]

        return packed.attend(query, key, value, window, attend), None

    return attention


def _fused(*args: Any, **others: Any) -> tuple[Tensor, None]:
    """torch's fused kernel."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    out: tuple[Tensor, None] = sdpa_attention_forward(*args, **others)
    return out


def _few_queries(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The products below where they are faster, else torch's fused kernel."""
    queries, limit = query.shape[2], MOST_QUERIES_WITH_GRADIENT if torch.is_grad_enabled() else MOST_QUERIES
    plain = attention_mask is None or attention_mask.dtype == torch.bool
    if (
        queries > limit
        or not plain
        or any(others.get(key) is not None for key in ("softcap", "s_aux", "position_bias"))
    ):
        return _fused(module, query, key, value, attention_mask, scaling=scaling, **others)
    if attention_mask is None and queries > 1:
        attention_mask = torch.ones(queries, key.shape[2], dtype=torch.bool, device=query.device)
        attention_mask = attention_mask.tril(key.shape[2] - queries)[None, None]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return grouped_attention(query, key, value, attention_mask, scale).transpose(1, 2), None


on_cpu = taking_packed_rows(_few_queries)
on_cuda = taking_packed_rows(_fused)


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Return softmax(scale · q kᵀ) v with H/K query heads per key head, the softmax in float32. [B, H, T, E]"""
    b, h, t, d = query.shape
    k, s, e = key.shape[1], key.shape[2], value.shape[3]  # e: values may be of another width than keys (DeepSeek)
    grouped = (query * scale).reshape(b * k, h // k * t, d)  # heads of one group are neighbours
    scores = torch.bmm(grouped, key.reshape(b * k, s, d).transpose(1, 2)).view(b, k, h // k, t, s)
    if mask is not None:
        # The least number rather than −inf: a query that sees nothing (padding) must stay finite, or its NaN spreads.
        # `where` rather than `masked_fill`, which would invert the mask in each layer.
        scores = torch.where(mask[:, :, None], scores, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype).view(b * k, h // k * t, s)
    return torch.bmm(weights, value.reshape(b * k, s, e)).view(b, h, t, e)
