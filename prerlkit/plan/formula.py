"""A plan for a model that can't be traced: from its weights' shapes and a few rules, larger rather than smaller."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from prerlkit.plan.phases import BACKWARD, LOGPROBS, STEP
from prerlkit.plan.phases import weights as weights_of
from prerlkit.plan.trace import Sizes, Traced
from prerlkit.plan.tracker import (
    ACTIVATIONS,
    ADAPTERS,
    BASE,
    CACHE,
    EVALUATION,
    GRADIENTS,
    LOGITS,
    OPTIMIZER,
    ROLLOUT,
    Peak,
)
from prerlkit.policy.blank import blank_base
from prerlkit.recipe.dtype import BYTES
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.cache import ROOM

_KEPT = 34
"""Numbers of width D that a decoder layer keeps for one token's backward (arXiv 2205.05198, attention's own apart)."""

_GROWTH = 1.5
"""A growing cache is copied layer by layer, and new prompts have a separate one. 1.5 was the largest factor seen."""


def by_formula(recipe: Recipe, config: str, device_type: str) -> tuple[Sizes, list[Traced]]:
    """Return sizes and peaks as `trace` does. Each peak is the sum of all that could be alive at the same time."""
    whole = _shapes(config, recipe.model.model_copy(update={"quantization": "none"}), device_type)
    base = _shapes(config, recipe.model, device_type)
    text = whole.config.get_text_config()
    numbers = [p.numel() for p in whole.parameters()]
    held = sum(t.numel() * t.element_size() for t in weights_of(base))
    item = BYTES[recipe.model.dtype]
    token = 2 * _layers(text) * text.hidden_size * item  # keys and values as wide as the model: no heads are shared
    dense = sum(numbers) * item
    sizes = Sizes(sum(numbers), held, dense, max(numbers), token, text, not base._is_stateful)
    sides = sum(sum(p.shape[-2:]) for p in whole.parameters() if p.dim() >= 2)
    made, earlier = [], 0
    for stage in recipe.stages:
        own = stage.adapter.rank * sides * getattr(torch, stage.adapter.dtype).itemsize
        below = earlier if stage.reincarnation == "stack" else 0
        made.append(_stage(recipe, stage, text, held, (below, own), token, item))
        earlier = below + own
    return sizes, made


@lru_cache(maxsize=8)
def _shapes(config: str, model: Model, device_type: str) -> Any:
    """Return `blank_base`, which is only read here. Recipes of one model share it."""
    return blank_base(config, model, device_type)


def _layers(text: Any) -> int:
    return int(text.num_hidden_layers)


def _stage(
    recipe: Recipe, stage: Stage, text: Any, held: int, adapters: tuple[int, int], token: int, item: int
) -> Traced:
    """Return a stage's peaks. `adapters`: bytes of the frozen ones below, and of the one that trains."""
    rollout, memory = stage.rollout, recipe.memory
    below, own = adapters
    trained = own if stage.source is None else 0
    resident = {BASE: held, ADAPTERS: below + own, OPTIMIZER: int(2.1 * trained), GRADIENTS: trained}
    tokens = max(memory.microbatch_tokens, rollout.max_prompt_tokens + rollout.max_new_tokens)
    kept = _layers(text) + _KEPT if memory.gradient_checkpointing else _layers(text) * _KEPT
    step = {
        **resident,
        ACTIVATIONS: tokens * text.hidden_size * item * kept,
        LOGITS: min(memory.logits_chunk, tokens) * text.vocab_size * (item + 8),
    }
    new = max(rollout.max_new_tokens, recipe.evaluation.max_new_tokens or 0)
    sampling = {
        **resident,
        CACHE: int(_GROWTH * rollout.max_sequences * (rollout.max_prompt_tokens + new + ROOM) * token),
        LOGITS: rollout.max_sequences * text.vocab_size * (item + 12),
        ACTIVATIONS: rollout.max_sequences * rollout.max_prompt_tokens * text.hidden_size * item * 8,
    }
    peaks = {LOGPROBS: step, BACKWARD: step, STEP: resident} if trained else {}
    peaks |= {EVALUATION: sampling} if stage.demonstrations else {ROLLOUT: sampling, EVALUATION: sampling}
    made = {name: Peak(sum(by_kind.values()), by_kind) for name, by_kind in peaks.items()}
    return Traced(stage.name, made, resident)
