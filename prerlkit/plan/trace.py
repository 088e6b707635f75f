"""A run traced on shapes: its stages, steps and rollouts in order, on a policy without values, every byte counted.

What runs here is the run's own code (`train/step.py`, `policy/`, `rollout/hf.py`): when that changes, so does the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from prerlkit.plan import worst_case
from prerlkit.plan.fake import MetaTracker, fake_tensors
from prerlkit.plan.phases import optimizer_state, train, watching, weights
from prerlkit.plan.rollouts import loads, on_shapes
from prerlkit.plan.tracker import ADAPTERS, BASE, GRADIENTS, OPTIMIZER, MemoryTracker, Peak
from prerlkit.policy.attention import NAMES
from prerlkit.policy.blank import META, blank_base
from prerlkit.policy.policy import Policy, make_policy
from prerlkit.policy.tokens import StartToken, Tokens
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.canary import TOKENS
from prerlkit.train.distributed import World
from prerlkit.train.step import Updater

MERGE, WEIGHT_SYNC = "merge", "weight sync"


@dataclass(slots=True)
class Traced:
    """What one stage holds: peaks by phase, and bytes by kind between steps."""

    stage: str
    peaks: dict[str, Peak] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)

    def at_most(self, peaks: dict[str, Peak]) -> None:
        """Keep the larger peak of each phase."""
        for phase, peak in peaks.items():
            if phase and peak.total > self.peaks.get(phase, Peak()).total:
                self.peaks[phase] = peak


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model.

    Attributes:
        weight_bytes: as the recipe holds it, packed where it is quantized.
        dense_bytes: in the recipe's dtype, not packed.
        config: transformers' own, of the text model.
        largest: numbers in the largest weight.
        cache_bytes_per_token: keys and values of one token over all layers, in the recipe's dtype.
        shares_contexts: whether a packed row holds a context once for all its completions.
        decode_operations: operations of one decode step with the last stage's adapters; 0 where they were not traced.
    """

    parameters: int
    weight_bytes: int
    dense_bytes: int
    largest: int
    cache_bytes_per_token: int
    config: Any
    shares_contexts: bool = True
    decode_operations: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What is traced.

    Attributes:
        training: steps; without them only what they leave behind is there.
        rollouts: in this process.
        canary: the trainer's side of a weight sync to an engine of another.
    """

    training: bool = True
    rollouts: bool = True
    canary: bool = False


def trace(recipe: Recipe, config: str, device_type: str, parts: Parts = Parts()) -> tuple[Sizes, list[Traced]]:
    """Bytes of each stage of `recipe` on a device of `device_type`, for the model whose config.json is `config`."""
    whole = blank_base(config, recipe.model.model_copy(update={"quantization": "none"}), device_type)
    numbers = [p.numel() for p in whole.parameters()]
    base = blank_base(config, recipe.model, device_type) if recipe.model.quantization != "none" else whole
    with fake_tensors(device_type):
        plain, cache_shape, cache_bytes = _look(base)
    tracker = MetaTracker("meta", base.config.get_text_config().vocab_size, cache_shape)
    tracker.hold(weights(base), BASE)
    dense = sum(p.numel() * p.element_size() for p in whole.parameters())
    text = base.config.get_text_config()
    # A run measures it (`packed.packs`). A model with a state along the row shares no context.
    share = base.config._attn_implementation in NAMES.values() and not base._is_stateful
    sizes = Sizes(sum(numbers), tracker.total, dense, max(numbers), cache_bytes, text, share)
    policy = make_policy(
        base,
        Tokens(None, (0,), StartToken(0, "", "plan")),
        recipe.memory.model_copy(update={"shard_base": False}),  # a plan is for one process
        plain_head=plain,
        share_contexts=share,
    )
    traced = []
    with fake_tensors(device_type):
        for index in range(len(recipe.stages)):
            done, operations = _stage(recipe, index, policy, tracker, device_type, parts)
            traced.append(done)
            sizes = replace(sizes, decode_operations=operations or sizes.decode_operations)
    return sizes, traced


def _stage(
    recipe: Recipe, index: int, policy: Policy, tracker: MemoryTracker, device_type: str, parts: Parts
) -> tuple[Traced, int]:
    """Trace one stage: reincarnate, train on the worst batches, roll out next to what training left."""
    stage = recipe.stages[index]
    made, operations = Traced(stage.name), 0
    with watching(tracker, MERGE):
        _reincarnate(recipe, index, stage, policy)
    if index and stage.reincarnation == "merge":
        made.at_most(dict(tracker.peaks))
    adapters = [p.data for name, p in policy.base.named_parameters() if ".lora_" in name]
    tracker.hold(adapters, ADAPTERS)
    updater = Updater(policy, _unpaged(stage), recipe.memory, World())
    if device_type == "cuda":
        for group in updater.optimizer.param_groups:
            group["foreach"] = True  # torch's own choice there: more at once, more held
    if parts.training and stage.source is None:
        for groups in worst_case.batches(stage, recipe.memory, share_contexts=policy.share_contexts):
            made.at_most(train(tracker, updater, groups))
    elif stage.source is None:  # a stage that is taken makes no step: no gradient, no moments
        _leave_behind(tracker, updater, policy)
    tracker.hold(optimizer_state(updater.optimizer), OPTIMIZER)
    tracker.hold([p.grad for p in policy.adapters.trainable if p.grad is not None], GRADIENTS)
    made.resident = dict(tracker.by_kind)
    if parts.canary:
        made.at_most(_canary(tracker, policy))
    if parts.rollouts and not _outdone(recipe, index):
        for load in loads(recipe, stage):
            peak, passed = on_shapes(tracker, policy, load)
            made.at_most({load.phase: peak})
            operations = operations or passed  # of the stage's own rollouts
    updater.optimizer.zero_grad(set_to_none=True)
    return made, operations


def _outdone(recipe: Recipe, index: int) -> bool:
    """Whether the next stage's rollouts are the same, next to at least as many resident bytes."""
    stage, *after = recipe.stages[index : index + 2]
    return any(
        (other.rollout, other.adapter, other.optimizer) == (stage.rollout, stage.adapter, stage.optimizer)
        and (other.demonstrations is None or stage.demonstrations is not None)  # else the next one samples less
        for other in after
    )


def _leave_behind(tracker: MemoryTracker, updater: Updater, policy: Policy) -> None:
    """Gradients and moments, as a step leaves them."""
    with watching(tracker, ""):
        for parameter in policy.adapters.trainable:
            parameter.grad = torch.empty_like(parameter)
        updater.optimizer.step()


def _reincarnate(recipe: Recipe, index: int, stage: Stage, policy: Policy) -> None:
    """As a run does it, except that a 4-bit or 8-bit layer isn't packed again: its bytes stay the same."""
    adapters = policy.adapters
    if index and stage.reincarnation == "continue":
        adapters.continue_top(stage.name)
        return
    if index and stage.reincarnation == "merge":
        if recipe.model.quantization == "none":
            adapters.merge_top()
        else:
            adapters.peft.base_model.delete_adapter(adapters.layers[-1].key)
            adapters.layers = (*adapters.layers[:-1], replace(adapters.layers[-1], status="merged", weights={}))
    with META:
        adapters.fresh(stage.name, stage.adapter, seed=0)


def _unpaged(stage: Stage) -> Stage:
    """Paged moments count as if they stayed on the device: they leave it only when something else needs the room."""
    if stage.optimizer.name != "paged_adamw_8bit":
        return stage
    return stage.model_copy(update={"optimizer": stage.optimizer.model_copy(update={"name": "adamw_8bit"})})


def _canary(tracker: MemoryTracker, policy: Policy) -> dict[str, Peak]:
    """What the trainer's side of a weight sync to another engine holds."""
    with watching(tracker, WEIGHT_SYNC):
        policy.score([tuple(range(TOKENS))])
    return dict(tracker.peaks)


@torch.no_grad()
def _look(base: Any) -> tuple[bool, tuple[int, int], int]:
    """What a forward pass shows of a model.

    Returns:
        Whether its logits are the very tensor that its head gave (as `base.head_is_plain`, without values); key heads
        and their width in a layer's cache, (0, 0) in a model without keys; bytes of one token in the cache of all
        layers.
    """
    tokens, given = 4, []
    hook = base.get_output_embeddings().register_forward_hook(lambda module, args, output: given.append(output))
    with MetaTracker("meta", 0, (0, 0)):
        out = base(input_ids=torch.zeros((1, tokens), dtype=torch.long, device=META), use_cache=True)
    hook.remove()
    plain = bool(given) and out.logits.untyped_storage()._cdata == given[-1].untyped_storage()._cdata
    cache = out.get("past_key_values")
    layers = cache.layers if isinstance(cache, Cache) else ()
    keys = [layer for layer in layers if isinstance(layer, DynamicLayer) and layer.is_initialized]
    size = sum(t.numel() * t.element_size() for layer in keys for t in (layer.keys, layer.values))
    shape = (keys[0].keys.shape[1], keys[0].keys.shape[3]) if keys else (0, 0)
    return plain, shape, size // tokens
