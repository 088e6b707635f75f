"""The policy as the loop sees it: base, adapters, tokenizer, and the tokens that open and close an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prerlkit.policy import unsloth
from prerlkit.policy.adapters import AdapterStack
from prerlkit.policy.base import head_is_plain, load_base, pick_device, settle
from prerlkit.policy.logprobs import Sequences, token_logprobs
from prerlkit.policy.packed import packs
from prerlkit.policy.shard import Lockstep
from prerlkit.policy.tokens import StartToken
from prerlkit.recipe.model import Model


def _nobody() -> None:
    """Nobody to wait for: this process's model is whole."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy.

    Attributes:
        base: the causal LM; calling it applies the active adapters.
        adapters: the stack on it.
        start: the token in front of y in P(y).
        end_ids: tokens that end a completion.
        plain_head: whether logits can be made chunk by chunk (see `head_is_plain`).
        share_contexts: whether a context goes through the model once for all its completions, in a packed row
            (`packed.packs`).
    """

    base: Any
    adapters: AdapterStack
    tokenizer: Any
    start: StartToken
    end_ids: tuple[int, ...]
    plain_head: bool
    share_contexts: bool
    rejoin: Callable[[], None] = _nobody
    """To call when this process has no more passes to make in a rollout or over a train batch: `shard.Lockstep`."""

    @property
    def device(self) -> torch.device:
        device: torch.device = self.base.device
        return device

    def logprobs(
        self, sequences: Sequences, *, temperature: float, chunk: int, entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """`token_logprobs` of this policy."""
        return token_logprobs(
            self.base,
            sequences,
            temperature=temperature,
            chunk=chunk,
            plain_head=self.plain_head,
            share_contexts=self.share_contexts,
            entropy=entropy,
        )


def load_policy(
    path: str,
    model: Model,
    tokenizer: Any,
    start: StartToken,
    end_ids: Sequence[int],
    *,
    checkpointing: bool = False,
    length: int = 4096,
    shard: bool = False,
) -> Policy:
    """Load the weights in `path` and put an empty adapter stack on them.

    Args:
        checkpointing: make activations again in backward.
        length: tokens of the longest sequence, for backends that want to know.
        shard: share the base's layers out over all processes.
    """
    device = pick_device(model.device)
    if model.backend == "unsloth":
        base = unsloth.load(path, model, device, length=length, checkpointing=checkpointing)
        settle(base, device.type)
        base.enable_input_require_grads()
        # Its layers have an attention of their own, which takes no packed rows.
        return make_policy(
            base, tokenizer, start, end_ids, plain_head=head_is_plain(base, start.id), share_contexts=False
        )
    base = load_base(path, model, device, shard=shard)
    plain = head_is_plain(base, start.id)
    return make_policy(
        base,
        tokenizer,
        start,
        end_ids,
        plain_head=plain,
        share_contexts=packs(base),
        checkpointing=checkpointing,
        shard=shard,
    )


def make_policy(
    base: Any,
    tokenizer: Any,
    start: StartToken,
    end_ids: Sequence[int],
    *,
    plain_head: bool,
    share_contexts: bool,
    checkpointing: bool = False,
    shard: bool = False,
) -> Policy:
    """A settled base (`base.settle`) with an empty adapter stack on it."""
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    rejoin = Lockstep(base).rejoin if shard else _nobody
    return Policy(base, AdapterStack(base), tokenizer, start, tuple(end_ids), plain_head, share_contexts, rejoin)
