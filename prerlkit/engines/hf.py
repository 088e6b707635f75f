"""The engine `hf`: the model in training samples itself. Nothing to install, no copy, no settings."""

from __future__ import annotations

from prerlkit.engines.engine import Engine, EngineContext
from prerlkit.rollout.protocol import RolloutEngine
from prerlkit.rollout.restart import RestartingEngine


class HfRollouts(Engine):
    """Samples from the policy itself; see `rollout.hf`."""

    name = "hf"
    in_process = True
    copies = False

    def make(self, context: EngineContext) -> RolloutEngine:
        def start() -> RolloutEngine:
            engine, slow = context.policy.engine(context.recipe.rollout.max_sequences)
            if slow:
                context.on_message(slow)
            return engine

        return RestartingEngine(start, context.on_message)
