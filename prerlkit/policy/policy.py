"""The policy as the loop sees it: base, adapters, tokenizer, and the tokens that open and close an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prerlkit.policy.adapters import AdapterStack
from prerlkit.policy.base import head_is_plain, load_base, pick_device
from prerlkit.policy.logprobs import Sequences, token_logprobs
from prerlkit.policy.tokens import StartToken
from prerlkit.recipe.schema import Model


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy.

    Attributes:
        base: the causal LM; calling it applies the active adapters.
        adapters: the stack on it.
        start: the token in front of y in P(y).
        end_ids: tokens that end a completion.
        plain_head: whether logits can be made chunk by chunk (see `head_is_plain`).
        share_contexts: whether a context goes through the model once for all its completions.
    """

    base: Any
    adapters: AdapterStack
    tokenizer: Any
    start: StartToken
    end_ids: tuple[int, ...]
    plain_head: bool
    share_contexts: bool

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
    path: str, model: Model, tokenizer: Any, start: StartToken, end_ids: Sequence[int], *, checkpointing: bool = False
) -> Policy:
    """Load the weights in `path` and put an empty adapter stack on them."""
    base = load_base(path, model, pick_device(model.device))
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    plain = head_is_plain(base, start.id)
    # Checkpointed layers run without a cache, which is what carries a shared context.
    return Policy(base, AdapterStack(base), tokenizer, start, tuple(end_ids), plain, share_contexts=not checkpointing)
