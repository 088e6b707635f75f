"""How the trainer and a vLLM that it starts share one device: who holds what, and the share that vLLM is given.

The run and the plan both ask here, so that what was planned is what is started. Sizes come from a config, nothing is
loaded for them.
"""

from __future__ import annotations

from typing import Any

from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.memory import EngineMemory, adapter_sides, engine_memory
from prerlkit.rollout.vllm import rank_for

FRAGMENTATION = 0.08
"""Share that torch's allocator loses between blocks. Ours: not measured on a GPU yet."""
_NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}


def engine_need(recipe: Recipe, config: Any, weights: int) -> EngineMemory:
    """What vLLM wants for `recipe`: all sequences at full length. `weights`: bytes of those it serves."""
    return engine_memory(
        config,
        weights=weights,
        rank=rank_for(recipe.stacked_rank),
        sequences=recipe.rollout.max_sequences,
        length=recipe.longest,
        item=_NUMBER[recipe.model.dtype],
    )


def trainer_growth(recipe: Recipe, config: Any) -> int:
    """Bytes that the trainer holds beside the base at the worst stage: adapters, the top one's gradient and moments."""
    sides, below, most = adapter_sides(config), 0, 0
    for index, stage in enumerate(recipe.stages):
        number, size = _NUMBER[stage.adapter.dtype], stage.adapter.rank * sides
        moments = 2 * number if stage.optimizer.name == "adamw" else 2  # two of a byte each in 8 bit
        if index and stage.reincarnation != "stack":
            below -= recipe.stages[index - 1].adapter.rank * sides * number
        most = max(most, below + size * (2 * number + moments))
        below += size * number
    return int(most * (1 + FRAGMENTATION))


def memory_share(recipe: Recipe, need: EngineMemory, config: Any, device: int, free: int) -> float:
    """vLLM's share (gpu_memory_utilization) of a device of `device` bytes, `free` of them once the base is loaded.

    With `memory_share: auto` it is all that vLLM wants, or what the trainer leaves: sequences then wait for a place.
    """
    wanted = recipe.rollout.vllm.memory_share
    if not isinstance(wanted, str):
        return wanted
    return need.share(device, free - trainer_growth(recipe, config))
