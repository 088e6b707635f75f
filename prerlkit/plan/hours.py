"""How long a run takes: tokens of a step from the recipe, hours from data sheets (a guess) or from two real steps."""

from __future__ import annotations

from dataclasses import dataclass

from prerlkit.engines.engine import WEIGHTS
from prerlkit.plan.plan import Plan
from prerlkit.recipe.schema import Recipe, Stage

_LAUNCH = 1e-5
"""Seconds that an eager operation takes at least: its launch. Ours, an order of magnitude."""
_LAYER_OPERATIONS = 170
"""Operations of a layer in one step of decoding where a plan traced none: what the trace of `hf` counts for Qwen3."""
_USE = 0.35
"""Share of a data sheet's figures that training and reading weights reach. Ours, an order of magnitude."""


@dataclass(frozen=True, slots=True)
class StepTokens:
    """Upper bounds for one step of a stage: every prompt and every completion at its limit."""

    generated: int
    trained: int


def shares_contexts(recipe: Recipe, plan: Plan) -> bool:
    """Whether a prompt goes through the model once for its group; a run measures it on the model (`packed.packs`)."""
    return recipe.model.backend == "transformers" and plan.sizes.shares_contexts


def tokens_of(stage: Stage, *, share_contexts: bool) -> StepTokens:
    """What a step generates, and what goes through the model in training."""
    rollout, draws = stage.rollout, draws_of(stage)
    rows = rollout.prompts_per_step * rollout.group_size
    trained = 0
    for objective in stage.objective:
        contexts = rollout.prompts_per_step if share_contexts else rows
        prompt = rollout.max_prompt_tokens if objective.space == "conditional" else 1
        trained += contexts * prompt + rows * rollout.max_new_tokens
    return StepTokens(draws * rows * rollout.max_new_tokens, trained)


def draws_of(stage: Stage) -> int:
    """Return how often a step draws its prompts at most: 0 in a supervised stage."""
    return 0 if stage.demonstrations else 1 + stage.rollout.refill  # each refill draws as many prompts at most


def guess_hours(recipe: Recipe, plan: Plan) -> float | None:
    """Hours at the longest, from the device's data sheet; None where it isn't known.

    Rollouts: each step of decoding reads the weights and, on average, half of a full cache; in this process it launches
    its operations one by one, and unpacks 4-bit weights. Training: 2
    operations a parameter and token forward, as many for the gradient of activations, and again when recomputed.
    """
    device, sizes = plan.device, plan.sizes
    if device.bandwidth is None or device.flops is None or not (sizes.decode_operations or plan.engine.at_once):
        return None
    passes = 3 if recipe.memory.gradient_checkpointing else 2
    shared = shares_contexts(recipe, plan)
    seconds = 0.0
    for stage in recipe.stages:
        rows = stage.rollout.prompts_per_step * stage.rollout.group_size
        together = min(rows, recipe.rollout.max_sequences, max(1, int(plan.engine.at_once or rows)))
        waves = -(-rows // together)
        decode = _decode_seconds(plan, together, recipe.longest, device.bandwidth)
        operations = 2 * passes * sizes.parameters * tokens_of(stage, share_contexts=shared).trained
        step = draws_of(stage) * waves * stage.rollout.max_new_tokens * decode + operations / (_USE * device.flops)
        seconds += stage.steps * step
    return seconds / 3600


def _decode_seconds(plan: Plan, together: int, length: int, bandwidth: float) -> float:
    """Of one token for `together` sequences of at most `length` tokens."""
    sizes, rate = plan.sizes, _USE * bandwidth
    cache = together * length / 2 * sizes.cache_bytes_per_token
    if plan.copies:  # a server's weights are not in the plan; nothing says that they are quantized
        return (plan.engine.rollout.get(WEIGHTS, sizes.dense_bytes) + cache) / rate
    packed = sizes.weight_bytes < sizes.dense_bytes
    unpacked = 2 * sizes.dense_bytes if packed else 0  # a copy of each layer is written and read for every token
    operations = sizes.decode_operations or _LAYER_OPERATIONS * sizes.config.num_hidden_layers
    return max(operations * _LAUNCH, (sizes.weight_bytes + unpacked + cache) / rate)
