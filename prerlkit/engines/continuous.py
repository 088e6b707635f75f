"""The engine `transformers`: continuous batching of the live policy. Nothing to install, no copy, nothing to sync.

For cards on which vLLM's copy of the weights doesn't fit, and for systems without vLLM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prerlkit.engines.engine import CACHE, OTHER, Engine, EngineContext, Reservation, Shared
from prerlkit.engines.vllm import trainer_growth
from prerlkit.recipe.dtype import BYTES
from prerlkit.rollout.memory import SPARE
from prerlkit.rollout.protocol import RolloutEngine
from prerlkit.rollout.restart import RestartingEngine

if TYPE_CHECKING:
    from prerlkit.recipe.schema import Recipe


class TransformersRollouts(Engine):
    """Samples from the policy itself by transformers' continuous batching; see `rollout.continuous`."""

    name = "transformers"
    copies = False

    def check(self, recipe: Recipe) -> None:
        if recipe.memory.shard_base:
            raise ValueError("memory.shard_base makes passes in lockstep; rollout.engine: transformers can't: use hf")

    def reserve(self, recipe: Recipe, shared: Shared) -> Reservation:
        """Return the bytes of a cache for all sequences at full length, or the free bytes. Freed before training."""
        from prerlkit.rollout.continuous import paged_memory, pages_of

        need = paged_memory(shared.config, recipe.rollout.max_sequences, BYTES[recipe.model.dtype])
        each = pages_of(recipe.longest)
        wanted = each * recipe.rollout.max_sequences
        room = shared.free - trainer_growth(recipe, shared.config) - SPARE - need.work
        pages = max(0, min(wanted, room // need.page))
        problem = ""
        if pages < each:
            needed, left = each * need.page / 2**30, room / 2**30
            problem = f"the pages of one sequence take {needed:.1f} GiB, and {left:.1f} GiB are left for the cache"
        held = {CACHE: max(pages, each) * need.page, OTHER: need.work}
        return Reservation(held, {}, max(pages, each) / each, 0, problem)

    def make(self, context: EngineContext) -> RolloutEngine:
        from prerlkit.rollout.continuous import ContinuousEngine, pages_of

        policy, rollout = context.policy, context.recipe.rollout
        pages = pages_of(context.recipe.longest) * rollout.max_sequences

        def start() -> Any:
            return ContinuousEngine(policy.base, policy.tokenizer, policy.end_ids, rollout.max_sequences, pages)

        return RestartingEngine(start, context.on_message)
