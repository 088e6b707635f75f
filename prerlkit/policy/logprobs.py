"""Log-probs of completions: each shared context goes through the model once, and [B, T, V] is never held.

Logits are made a chunk of positions at a time, and in backward not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from prerlkit.policy.frozen_linear import input_gradient, is_plain, product
from prerlkit.policy.packed import Packed, packed_states

_CPU_BYTES = 80_000_000
"""Of logits and probabilities at once. With 49,152 words 256 to 512 positions are fastest; more miss the cache."""


class Sequences:
    """Completions behind their contexts (a prompt, or the start token), and two forms in which a model takes them.

    N counts the tokens of the completions, completion by completion. Each form is made when it is first asked for.

    Attributes:
        contexts, completions: token ids; none may be empty.
        targets_N: the completions' tokens.
        rows_N: the completion that each of them is of.
    """

    def __init__(
        self, contexts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]], device: torch.device
    ) -> None:
        self.contexts, self.completions = tuple(contexts), tuple(completions)
        self.targets_N = torch.tensor([token for completion in completions for token in completion], device=device)
        lengths_B = torch.tensor([len(completion) for completion in completions])
        self.rows_N = torch.arange(len(completions)).repeat_interleave(lengths_B).to(device)
        self._device = device

    @cached_property
    def packed(self) -> Packed:
        """One row without padding, equal contexts in it once."""
        return Packed.of(self.contexts, self.completions).to(self._device)

    @cached_property
    def whole(self) -> Packed:
        """One row without padding, a completion's context in front of each."""
        return Packed.whole(self.contexts, self.completions).to(self._device)

    @cached_property
    def padded(self) -> tuple[Tensor, Tensor]:
        """tokens_BL, a right-padded row for each completion with its context, and before_N, each target's predictor.

        Causal attention makes a mask for that padding needless.
        """
        rows = [torch.tensor(x + y) for x, y in zip(self.contexts, self.completions, strict=True)]
        tokens_BL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        before = [
            torch.arange(len(x), len(x) + len(y)) - 1 for x, y in zip(self.contexts, self.completions, strict=True)
        ]
        return tokens_BL.to(self._device), torch.cat(before).to(self._device)


def token_logprobs(
    base: Any,
    sequences: Sequences,
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
    plain_head: bool = True,
    share_contexts: bool = False,
    pack_whole: bool = False,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return log π(y_t | context, y_<t) at `temperature` of every completion token, in float32.

    Args:
        base: the causal LM, adapters applied.
        chunk: positions whose logits exist at the same time: [chunk, V].
        plain_head: whether head(decoder(x)) is the model's own logits (`base.head_is_plain`).
        share_contexts: one packed row, each context in it once, for models that can (`packed.packs`).
        pack_whole: one packed row of whole sequences, for models that can (`packed.packs_whole`). Where both are False
            each completion is a padded row behind its context.
        entropy: also give the entropy of the distribution each token was drawn from, nats.

    Returns:
        logprobs_N, and entropy_N or None. Both carry gradient where grad is enabled.
    """
    model, head = (base.get_decoder(), base.get_output_embeddings()) if plain_head else (base, torch.nn.Identity())
    if share_contexts or pack_whole:
        states_ND = packed_states(model, sequences.packed if share_contexts else sequences.whole)
    else:
        states_ND = _padded_states(model, sequences)
    targets_N = sequences.targets_N
    if not entropy and isinstance(head, torch.nn.Linear) and _is_dense(head):
        return head_logprobs(head, states_ND, targets_N, temperature, chunk), None
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


def head_logprobs(
    head: torch.nn.Linear, states_ND: Tensor, targets_N: Tensor, temperature: float, chunk: int
) -> Tensor:
    """Return log softmax(head(states) / temperature)[targets] of a frozen head, float32 [N]; [N, V] is not kept."""
    logprobs_N: Tensor = _HeadLogprobs.apply(states_ND, head, targets_N, temperature, chunk)
    return logprobs_N


def _is_dense(head: torch.nn.Module) -> bool:
    """Whether the head is one frozen matrix in a floating type."""
    return is_plain(head) and head.weight.is_floating_point() and not head.weight.requires_grad


def _rows_at_once(weight_VD: Tensor, wide: torch.dtype, chunk: int) -> int:
    """Return how many positions have logits at the same time: `chunk`, on a CPU as many as its caches profit from."""
    if weight_VD.device.type != "cpu":
        return chunk
    row = len(weight_VD) * (weight_VD.itemsize + (wide.itemsize if wide != weight_VD.dtype else 0))
    return min(chunk, max(64, _CPU_BYTES // row))


class _HeadLogprobs(torch.autograd.Function):
    """log softmax(head(x) / temperature)[target], and its gradient, without ever keeping logits.

    A log-prob is one number, so its gradient with respect to its state is one vector: (W_target − Σ_v p_v W_v) / τ.
    It is made in the forward pass, where the probabilities are at hand, and kept: [N, D], as large as the states. The
    backward pass is a product with the incoming gradient: neither logits are held nor made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, states_ND: Tensor, head: torch.nn.Linear, targets_N: Tensor, temperature: float, chunk: int
    ) -> Tensor:
        wide = torch.promote_types(head.weight.dtype, torch.float32)
        rows = min(_rows_at_once(head.weight, wide, chunk), len(states_ND))
        # The same memory for all chunks: what is new from the system costs a CPU as much as the sums made in it.
        probs_CV = states_ND.new_empty(rows, len(head.weight), dtype=wide)
        parts = zip(states_ND.split(rows), targets_N.split(rows), strict=True)
        made = [
            _chunk_logprobs(
                head, states_CD, targets_C, temperature, probs_CV[: len(states_CD)], ctx.needs_input_grad[0]
            )
            for states_CD, targets_C in parts
        ]
        gradients = [gradient_CD for _, gradient_CD in made if gradient_CD is not None]
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat([logprobs_C for logprobs_C, _ in made])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradients_ND,) = ctx.saved_tensors
        return (grads[0][:, None] * gradients_ND).to(gradients_ND.dtype), None, None, None, None


def _chunk_logprobs(
    head: torch.nn.Linear, states_CD: Tensor, targets_C: Tensor, temperature: float, probs_CV: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the log-probs of a chunk, and where wanted their gradients; `probs_CV` is memory to work in."""
    logits_CV = product(head, states_CD)
    chosen_C1 = logits_CV.gather(-1, targets_C[:, None]).to(probs_CV.dtype)
    top_C1 = logits_CV.amax(-1, keepdim=True).to(probs_CV.dtype)
    probs_CV.copy_(logits_CV)
    if temperature != 1.0:
        probs_CV.div_(temperature)
    torch.softmax(probs_CV, -1, out=probs_CV)
    # log Σ exp = the largest logit − the log of the largest probability, which no sum over V is needed for.
    logprobs_C = ((chosen_C1 - top_C1) / temperature + probs_CV.amax(-1, keepdim=True).log())[:, 0]
    if not gradient:
        return logprobs_C, None
    expected_CD = input_gradient(head, logits_CV.copy_(probs_CV)).to(probs_CV.dtype)
    return logprobs_C, ((head.weight[targets_C] - expected_CD) / temperature).to(states_CD.dtype)


def _padded_states(model: Any, sequences: Sequences) -> Tensor:
    """Return the state that predicts each completion token, [N, D], or [N, V] where `model` gives logits."""
    tokens_BL, before_N = sequences.padded
    states_BLD = model(input_ids=tokens_BL, use_cache=False)[0]
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
