"""Draw the next token: one uniform number and a cumulative sum a sequence, no sort and no vocabulary-wide noise."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(
    logits_BV: Tensor, uniforms_B: Tensor, temperature: float | None, top_p: float = 1.0, top_k: int = 0
) -> tuple[Tensor, Tensor]:
    """Next tokens and their log-probs (nats, float32) under the uncut distribution at `temperature`.

    Inverse-transform sampling: the token at which the cumulative probability passes the uniform draw. With
    `temperature` None the likeliest token is taken and its log-prob is at temperature 1.

    Returns:
        tokens_B (int64), logprobs_B.
    """
    scaled_BV = logits_BV.float() if temperature is None else logits_BV.float() / temperature
    norm_B = scaled_BV.logsumexp(-1)
    if temperature is None:
        tokens_B = scaled_BV.argmax(-1)
    else:
        cut_BV = _cut(scaled_BV, top_p, top_k) if top_p < 1.0 or top_k else scaled_BV
        mass_BV = (cut_BV - norm_B[:, None]).exp().cumsum(-1)
        # Against the sum that was reached, not 1: rounding and a cut both leave it short of 1.
        tokens_B = torch.searchsorted(mass_BV, (uniforms_B * mass_BV[:, -1])[:, None], right=True)[:, 0]
        tokens_B = tokens_B.clamp(max=logits_BV.shape[-1] - 1)
    logprobs_B = scaled_BV.gather(-1, tokens_B[:, None])[:, 0] - norm_B
    return tokens_B, logprobs_B


def _cut(logits_BV: Tensor, top_p: float, top_k: int) -> Tensor:
    """Logits with everything outside the top k, then outside the smallest set of mass top_p, at −inf."""
    ordered_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    drop_BV = torch.zeros_like(ordered_BV, dtype=torch.bool)
    if top_k:
        drop_BV[:, top_k:] = True
    if top_p < 1.0:
        probs_BV = ordered_BV.masked_fill(drop_BV, float("-inf")).softmax(-1)
        drop_BV |= probs_BV.cumsum(-1) - probs_BV >= top_p  # the token that passes top_p stays
    return logits_BV.masked_fill(torch.zeros_like(drop_BV).scatter(-1, order_BV, drop_BV), float("-inf"))
