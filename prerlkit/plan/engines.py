"""What a rollout engine takes beside the trainer, as a function of the recipe; what runs in this process is traced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prerlkit.plan.device import GIB, Device
from prerlkit.plan.trace import Sizes
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.memory import ASLEEP, OVERHEAD, EngineMemory
from prerlkit.rollout.vllm_memory import engine_need, memory_share

ENGINE_WEIGHTS, ENGINE_CACHE, ENGINE_OTHER = "engine weights", "engine KV cache", "engine overhead"
ENGINE = frozenset({ENGINE_WEIGHTS, ENGINE_CACHE, ENGINE_OTHER})
"""Another process's: nothing is lost on them between the blocks of this one's allocator."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Bytes of an engine by kind.

    Attributes:
        in_process: the engine samples from the trainer's own model: its bytes are traced, not reserved.
        rollout: while it samples, beside the trainer's resident bytes.
        training: while the trainer works and it sleeps.
        at_once: sequences of full length that its cache holds; 0 where it isn't on this device.
        total: bytes that it is started with.
        problem: why it would not start with that; empty where it would.
    """

    in_process: bool
    rollout: dict[str, int] = field(default_factory=dict)
    training: dict[str, int] = field(default_factory=dict)
    at_once: float = 0.0
    total: int = 0
    problem: str = ""


def _hf(recipe: Recipe, sizes: Sizes, device: Device) -> Reservation:
    return Reservation(in_process=True)


def _vllm(recipe: Recipe, sizes: Sizes, device: Device) -> Reservation:
    """A server is on another device; an engine beside the trainer has its share while it is awake."""
    settings = recipe.rollout.vllm
    if settings.server is not None:
        return Reservation(in_process=False)
    need = engine_need(recipe, sizes.config, sizes.dense_bytes)  # in 16 bit, whatever the trainer's are
    total = need.total
    if device.kind == "cuda":
        free = device.memory - device.needed(sizes.weight_bytes)
        total = int(memory_share(recipe, need, sizes.config, device.memory, free) * device.memory)
    sleeps = device.kind == "cuda" and settings.sleep is not False
    return beside(need, total, sleeps=sleeps)


def beside(need: EngineMemory, total: int, *, sleeps: bool) -> Reservation:
    """An engine of `total` bytes on the trainer's device; what isn't weights, adapter and work space is its cache.

    While it sleeps, its weights wait in the host's memory and the cache is dropped; context and graphs stay.
    """
    cache = total - (need.total - need.cache)
    held = {
        ENGINE_WEIGHTS: need.weights + need.adapter,
        ENGINE_CACHE: min(need.cache, max(need.sequence, cache)),
        ENGINE_OTHER: OVERHEAD,
    }
    problem = ""
    if cache < need.sequence:
        problem = (
            f"vLLM's share, {total / GIB:.1f} GiB, leaves {max(0, cache) / GIB:.1f} GiB for keys and values, and one "
            f"sequence of full length takes {need.sequence / GIB:.1f} GiB: it would not start"
        )
    asleep = {ENGINE_OTHER: ASLEEP} if sleeps else held
    return Reservation(False, held, asleep, held[ENGINE_CACHE] / need.sequence, total, problem)


RESERVATIONS: dict[str, Callable[[Recipe, Sizes, Device], Reservation]] = {"hf": _hf, "vllm": _vllm}
"""By `rollout.engine`."""
IN_PROCESS = frozenset({"hf"})
