"""Draw the next token: one uniform number and a two-level cumulative sum per row; no sort, no vocabulary-wide noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from prerlkit.errors import PrerlkitError

BLOCK = 256
"""Tokens of a block of probabilities; only the block that the draw hits is summed token by token."""
NUMBERS_AT_ONCE = 400_000
"""Probabilities made together on a CPU: few enough that they stay in its cache between two passes."""


def sample_tokens(
    logits_BV: Tensor, uniforms_B: Tensor, temperature: float | None, top_p: float = 1.0, top_k: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the next tokens and their log-probs (nats, float32) under the uncut distribution at `temperature`.

    Inverse-transform sampling: the token at which the cumulative probability passes the uniform draw. With
    `temperature` None the likeliest token is taken and its log-prob is at temperature 1.

    Returns:
        tokens_B (int64), logprobs_B.
    """
    rows = rows_at_once(logits_BV.device.type, logits_BV.shape[-1]) or len(logits_BV)
    parts = zip(logits_BV.split(rows), uniforms_B.split(rows), strict=True)
    drawn = [_draw_rows(logits_RV, uniforms_R, temperature, top_p, top_k) for logits_RV, uniforms_R in parts]
    return torch.cat([tokens_R for tokens_R, _ in drawn]), torch.cat([logprobs_R for _, logprobs_R in drawn])


def refuse_nan(logprob: float) -> None:
    """Raise PrerlkitError for a log-prob that is NaN: the model's logits are NaN, and the token is meaningless."""
    if math.isnan(logprob):
        raise PrerlkitError(
            "The model's logits became NaN while sampling.",
            "The training diverged or a 16-bit number overflowed: resume from an earlier checkpoint with a smaller "
            "learning rate, or use model.dtype: float32.",
        )


def rows_at_once(device_type: str, vocabulary: int) -> int | None:
    """Return how many rows are processed together; None: all."""
    return max(8, NUMBERS_AT_ONCE // vocabulary) if device_type == "cpu" else None


def _draw_rows(
    logits_RV: Tensor, uniforms_R: Tensor, temperature: float | None, top_p: float, top_k: int
) -> tuple[Tensor, Tensor]:
    top_R1 = logits_RV.amax(-1, keepdim=True).float()
    scaled_RV = logits_RV - top_R1  # float32, by promotion: one pass
    if temperature is not None and temperature != 1.0:
        scaled_RV.div_(temperature)
    mass_RV = scaled_RV.exp()
    total_R1 = mass_RV.sum(-1, keepdim=True)
    if temperature is None:
        tokens_R1 = logits_RV.argmax(-1, keepdim=True)
    else:
        cut_RV = _cut(scaled_RV, top_p, top_k).exp() if top_p < 1.0 or top_k else mass_RV
        tokens_R1 = _locate(cut_RV, uniforms_R[:, None])
    logprobs_R = (scaled_RV.gather(-1, tokens_R1) - total_R1.log())[:, 0]
    return tokens_R1[:, 0], logprobs_R


def _locate(mass_RV: Tensor, uniforms_R1: Tensor) -> Tensor:
    """Return the first token at which the cumulative mass passes uniform · total. [R, 1]"""
    padding = -mass_RV.shape[-1] % BLOCK
    blocks_RKL = torch.nn.functional.pad(mass_RV, (0, padding)).unflatten(-1, (-1, BLOCK))
    sums_RK = blocks_RKL.sum(-1).cumsum(-1)
    target_R1 = _below(uniforms_R1 * sums_RK[:, -1:], sums_RK[:, -1:])
    # Clamped for masses that are NaN: the token is then meaningless, and its log-prob is NaN, which a caller checks.
    block_R1 = torch.searchsorted(sums_RK, target_R1, right=True).clamp(max=sums_RK.shape[-1] - 1)
    before_R1 = torch.where(block_R1 > 0, sums_RK.gather(-1, (block_R1 - 1).clamp(min=0)), 0.0)
    inner_RL = blocks_RKL.gather(1, block_R1[:, :, None].expand(-1, 1, BLOCK))[:, 0].cumsum(-1)
    rest_R1 = _below(target_R1 - before_R1, inner_RL[:, -1:])
    inside_R1 = torch.searchsorted(inner_RL, rest_R1, right=True)
    return (block_R1 * BLOCK + inside_R1).clamp(max=mass_RV.shape[-1] - 1)


def _below(target_R1: Tensor, total_R1: Tensor) -> Tensor:
    # Rounding may lift a target to the total itself; the number below it still ends at a token that has mass.
    return torch.minimum(target_R1, torch.nextafter(total_R1, torch.zeros_like(total_R1)))


def _cut(logits_BV: Tensor, top_p: float, top_k: int) -> Tensor:
    """Return the logits with −inf outside the top k, then outside the smallest set of mass top_p."""
    ordered_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    drop_BV = torch.zeros_like(ordered_BV, dtype=torch.bool)
    if top_k:
        drop_BV[:, top_k:] = True
    if top_p < 1.0:
        probs_BV = ordered_BV.masked_fill(drop_BV, float("-inf")).softmax(-1)
        drop_BV |= probs_BV.cumsum(-1) - probs_BV >= top_p  # the token that passes top_p stays
    return logits_BV.masked_fill(torch.zeros_like(drop_BV).scatter(-1, order_BV, drop_BV), float("-inf"))
