"""The weights of a run and the engine that samples from them, with what a person should know about both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prerlkit.engines.engine import EngineContext
from prerlkit.engines.registry import engine_of
from prerlkit.policy.base import check_vocabulary, quantized_layers
from prerlkit.policy.layout import check_publishable
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.recipe.dtype import has_bfloat16
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.lockstep import LockstepEngine
from prerlkit.rollout.protocol import RolloutEngine
from prerlkit.train.callbacks import Callback
from prerlkit.train.prepare import Prepared
from prerlkit.train.taken_stage import TakenStage


@contextmanager
def policy_and_engine(
    recipe: Recipe, prepared: Prepared, callback: Callback, rank: int, taken: TakenStage | None
) -> Iterator[tuple[Policy, RolloutEngine]]:
    """Load the weights, and yield the policy with the engine that samples from it. The engine is closed at the end."""
    callback.progress("loading the model", 0, 0)
    policy = load_policy(prepared.model.path, recipe.model, prepared.tokens, recipe.memory, length=recipe.longest)
    if taken:
        taken.check(policy.adapters, recipe)  # again: on a loaded base fewer layers may take an adapter
    if quantized := quantized_layers(policy.base):
        callback.on_message(
            f"{len(quantized)} linear layers in {recipe.model.quantization} (all but the head); embeddings, norms and "
            f"head in {recipe.model.dtype}"
        )
    if policy.device.type == "cpu" and recipe.model.dtype == "bfloat16" and not has_bfloat16():
        callback.on_message(
            "this CPU has no bfloat16 instructions: --set model.dtype=auto takes float32, several times faster"
        )
    for note in policy.notes:
        callback.on_message(note)
    check_vocabulary(policy.base, policy.tokens, prepared.token_lists())
    if not policy.plain_head:
        callback.on_message(
            "this model changes its logits after the head: they are held whole, [B, T, V], so use small batches"
        )
    if policy.rows_note:
        callback.on_message(policy.rows_note)
    lines = {line: None for stage in recipe.stages for line in policy.adapters.describe(stage.adapter)}
    for line in lines:
        callback.on_message(line)
    adapted = {name: None for stage in recipe.stages for name in policy.adapters.adapted(stage.adapter)}
    check_publishable(prepared.model.path, adapted, trust_remote_code=recipe.model.trust_remote_code)
    model, prompts = Path(prepared.model.path), prepared.prompts.train
    callback.progress("rollout engine", 0, 0)
    context = EngineContext(recipe, policy, prompts, model, callback.on_message, rank)
    engine = LockstepEngine(engine_of(recipe).make(context), policy.rejoin)
    try:
        yield policy, engine
    finally:
        engine.close()
