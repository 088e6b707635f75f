"""Log-probs of completions: each shared context goes through the model once, and [B, T, V] is never held.

Logits are made a chunk of positions at a time, and again in backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, slots=True)
class Sequences:
    """Completions behind their contexts (a prompt, or the start token). Equal contexts stand here once.

    Attributes:
        contexts_PS: left-padded, so that each context's last token is in the last column.
        mask_PS: 1 for tokens, 0 for padding.
        owner_B: the context of each completion.
        completions_BT: right-padded.
        rows_N, columns_N: the tokens of `completions_BT` that are no padding, completion by completion.
    """

    contexts_PS: Tensor
    mask_PS: Tensor
    owner_B: Tensor
    completions_BT: Tensor
    rows_N: Tensor
    columns_N: Tensor

    @classmethod
    def pack(
        cls, contexts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]], device: torch.device
    ) -> Sequences:
        """Tensors of completions and of the context in front of each; none may be empty."""
        different = list(dict.fromkeys(contexts))
        place = {context: p for p, context in enumerate(different)}
        width = max(map(len, different))
        contexts_PS = torch.zeros(len(different), width, dtype=torch.long)
        mask_PS = torch.zeros_like(contexts_PS)
        for p, context in enumerate(different):
            contexts_PS[p, width - len(context) :] = torch.tensor(context)
            mask_PS[p, width - len(context) :] = 1
        lengths_B = torch.tensor([len(completion) for completion in completions])
        completions_BT = torch.zeros(len(completions), int(lengths_B.max()), dtype=torch.long)
        for b, completion in enumerate(completions):
            completions_BT[b, : len(completion)] = torch.tensor(completion)
        rows_N, columns_N = (torch.arange(completions_BT.shape[1]) < lengths_B[:, None]).nonzero(as_tuple=True)
        owner_B = torch.tensor([place[context] for context in contexts])
        tensors = (contexts_PS, mask_PS, owner_B, completions_BT, rows_N, columns_N)
        return cls(*(tensor.to(device) for tensor in tensors))


def token_logprobs(
    base: Any,
    sequences: Sequences,
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
    plain_head: bool = True,
    share_contexts: bool = True,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log π(y_t | context, y_<t) at `temperature` of every completion token, in float32.

    Args:
        base: the causal LM, adapters applied.
        chunk: positions whose logits exist at the same time: [chunk, V].
        plain_head: whether head(decoder(x)) is the model's own logits (`base.head_is_plain`).
        share_contexts: run each context once and let its completions attend to it; False runs it with each of them,
            which gradient checkpointing needs.
        entropy: also give the entropy of the distribution each token was drawn from, nats.

    Returns:
        logprobs_N, and entropy_N or None. Both carry gradient where grad is enabled.
    """
    model, head = (base.get_decoder(), base.get_output_embeddings()) if plain_head else (base, torch.nn.Identity())
    states_ND = (_states_shared if share_contexts else _states_plain)(base, model, sequences)
    targets_N = sequences.completions_BT[sequences.rows_N, sequences.columns_N]
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


def _states_shared(base: Any, model: Any, sequences: Sequences) -> Tensor:
    """What predicts each scored token, [N, D] (or [N, V] where `model` gives logits): contexts once, then completions.

    The completions' keys and values come after those of their context in a cache that gradient flows through.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=base.config)
    mask_PS, owner_B = sequences.mask_PS, sequences.owner_B
    positions_PS = (mask_PS.cumsum(-1) - 1).clamp(min=0)
    inputs = {"past_key_values": cache, "use_cache": True}
    out_PSD = model(input_ids=sequences.contexts_PS, attention_mask=mask_PS, position_ids=positions_PS, **inputs)[0]
    states_BTD = out_PSD[owner_B, -1:]  # predicts each completion's first token
    length = sequences.completions_BT.shape[1] - 1  # the last token predicts nothing
    if length:
        cache.batch_select_indices(owner_B)
        rest_BTD = model(
            input_ids=sequences.completions_BT[:, :-1],
            attention_mask=torch.cat([mask_PS[owner_B], mask_PS.new_ones(len(owner_B), length)], dim=1),
            position_ids=positions_PS[owner_B, -1:] + torch.arange(1, length + 1, device=mask_PS.device),
            **inputs,
        )[0]
        states_BTD = torch.cat([states_BTD, rest_BTD], dim=1)
    states_ND: Tensor = states_BTD[sequences.rows_N, sequences.columns_N]
    return states_ND


def _states_plain(base: Any, model: Any, sequences: Sequences) -> Tensor:
    """The same from one right-padded row a completion. Causal attention makes a mask for that padding needless."""
    owner_B, width = sequences.owner_B, sequences.contexts_PS.shape[1]
    tokens_BL = torch.cat([sequences.contexts_PS[owner_B], sequences.completions_BT], dim=1)
    padding_B1 = width - sequences.mask_PS.sum(-1)[owner_B][:, None]
    columns_BL = (torch.arange(tokens_BL.shape[1], device=tokens_BL.device) + padding_B1) % tokens_BL.shape[1]
    states_BLD = model(input_ids=tokens_BL.gather(1, columns_BL), use_cache=False)[0]
    before_N = width - padding_B1[sequences.rows_N, 0] + sequences.columns_N - 1
    states_ND: Tensor = states_BLD[sequences.rows_N, before_N]
    return states_ND


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
