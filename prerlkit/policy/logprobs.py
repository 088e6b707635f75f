"""Log-probs of chosen tokens, a chunk of logits at a time and made again in backward: [B, T, V] is never held."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prerlkit.policy.base import decoder_states


def token_logprobs(
    base: Any,
    tokens_BT: Tensor,
    rows_N: Tensor,
    columns_N: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
    plain_head: bool = True,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log π(token at (row, column) | what stands before it) at `temperature`, in float32.

    Args:
        base: the causal LM, adapters applied.
        tokens_BT: right-padded token ids; position 0 is never scored.
        rows_N, columns_N: which tokens to score; `columns_N` ≥ 1.
        chunk: positions whose logits exist at the same time: [chunk, V].
        plain_head: whether head(decoder(x)) is the model's own logits (`base.head_is_plain`).
        entropy: also give the entropy of the distribution each token was drawn from, nats.

    Returns:
        logprobs_N, and entropy_N or None. Both carry gradient where grad is enabled.
    """
    targets_N = tokens_BT[rows_N, columns_N]
    if plain_head:
        states_BTD = decoder_states(base, tokens_BT)
        states_ND = states_BTD[rows_N, columns_N - 1]
        head = base.get_output_embeddings()
    else:
        states_ND = base(input_ids=tokens_BT, use_cache=False).logits[rows_N, columns_N - 1]  # [N, V]
        head = torch.nn.Identity()
    logprobs, entropies = [], []
    for states_CD, targets_C in zip(states_ND.split(chunk), targets_N.split(chunk), strict=True):
        arguments = (head, states_CD, targets_C, temperature, entropy)
        if torch.is_grad_enabled():
            logprobs_C, entropy_C = checkpoint(_score_chunk, *arguments, use_reentrant=False)
        else:
            logprobs_C, entropy_C = _score_chunk(*arguments)
        logprobs.append(logprobs_C)
        entropies.append(entropy_C)
    return torch.cat(logprobs), torch.cat(entropies) if entropy else None


def _score_chunk(
    head: torch.nn.Module, states_CD: Tensor, targets_C: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logits_CV = head(states_CD).float() / temperature
    norm_C = logits_CV.logsumexp(-1)
    logprobs_C = logits_CV.gather(-1, targets_C[:, None])[:, 0] - norm_C
    if not entropy:
        return logprobs_C, None
    probs_CV = (logits_CV - norm_C[:, None]).exp()
    return logprobs_C, norm_C - (probs_CV * logits_CV).sum(-1)
