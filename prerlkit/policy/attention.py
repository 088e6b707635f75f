"""Attention on a CPU for few queries: two matrix products on the keys as they are, not expanded to the queries' heads.

torch's fused kernel is made for long sequences. With one query a sequence (decoding) it is 5 to 12 times slower than
two `bmm`, and training it on short sequences 2 to 8 times (`python -m benchmarks.attention`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAME = "prerlkit_grouped"
MOST_QUERIES = 64
"""Above this many queries a sequence the fused kernel is faster; measured on two x86-64 cores, bfloat16."""
MOST_QUERIES_WITH_GRADIENT = 128
"""The same in training, where the fused kernel's backward is slow."""


def use_grouped_attention(base: Any) -> None:
    """Let a model on the CPU that uses torch's fused attention use this one where it is faster."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    base.set_attn_implementation(NAME)


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: heads first, [B, H, T, D] and [B, K, S, D]; gives [B, T, H, D].

    `attention_mask` is boolean [B, 1, T, S], True where a key is seen, or None for plain causal attention.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    queries, limit = query.shape[2], MOST_QUERIES_WITH_GRADIENT if torch.is_grad_enabled() else MOST_QUERIES
    plain = attention_mask is None or attention_mask.dtype == torch.bool
    if (
        queries > limit
        or not plain
        or any(others.get(key) is not None for key in ("softcap", "s_aux", "position_bias"))
    ):
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return out
    if attention_mask is None and queries > 1:
        attention_mask = torch.ones(queries, key.shape[2], dtype=torch.bool, device=query.device)
        attention_mask = attention_mask.tril(key.shape[2] - queries)[None, None]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return grouped_attention(query, key, value, attention_mask, scale).transpose(1, 2), None


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(scale · q kᵀ) v with H/K query heads on each key head, the softmax in float32. [B, H, T, D]"""
    b, h, t, d = query.shape
    k, s = key.shape[1], key.shape[2]
    grouped = (query * scale).reshape(b * k, h // k * t, d)  # heads of one group are neighbours
    scores = torch.bmm(grouped, key.reshape(b * k, s, d).transpose(1, 2)).view(b, k, h // k, t, s)
    if mask is not None:
        # The least number rather than −inf: a query that sees nothing (padding) must stay finite, or its NaN spreads.
        scores = scores.masked_fill(~mask[:, :, None], torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype).view(b * k, h // k * t, s)
    return torch.bmm(weights, value.reshape(b * k, s, d)).view(b, h, t, d)
