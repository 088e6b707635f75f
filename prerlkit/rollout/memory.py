"""How much memory an engine needs: weights, adapter, and keys and values of so many sequences of full length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLOCK = 128
"""Tokens of a cache block, at most: each sequence's last one may be all but empty. 128 on a CPU, 16 on CUDA."""
OVERHEAD = 2 << 30
"""Bytes that vLLM takes besides: its CUDA context, activations, graphs. An estimate, not run here."""
ASLEEP = 1 << 30
"""Of them what it keeps while it sleeps: context and graphs. An estimate, not run here."""
FRAGMENTATION = 0.08
"""Share that torch's allocator loses between blocks. Ours: not measured on a GPU yet."""
SPARE = 1 << 30
"""Bytes of the device that are left alone."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What an engine holds, bytes."""

    weights: int
    adapter: int
    cache: int
    sequence: int
    """Of the cache, what one sequence of full length takes: vLLM doesn't start with less."""

    @property
    def total(self) -> int:
        """With vLLM's own overhead."""
        return self.weights + self.adapter + self.cache + OVERHEAD

    def share(self, device: int, free: int) -> float:
        """What vLLM calls gpu_memory_utilization, for a device of `device` bytes of which `free` are free now.

        Where not all fits it is what is free: sequences then wait for a place in the cache, nothing fails for that.
        """
        return min(self.total, max(free - SPARE, 0)) / device


def engine_memory(config: Any, *, weights: int, rank: int, sequences: int, length: int, item: int = 2) -> EngineMemory:
    """Bytes for a causal LM of transformers' `config`.

    Args:
        weights: bytes of the weights as the engine holds them.
        rank: of the adapter's slot.
        sequences, length: decoded at once, and tokens of each.
        item: bytes of a number of the adapter and the cache.
    """
    sequence = -(-(length + 1) // BLOCK) * BLOCK * config.num_hidden_layers * 2 * _key_width(config) * item
    # vLLM pads each slot to max_lora_rank
    return EngineMemory(weights, rank * adapter_sides(config) * item, sequences * sequence, sequence)


def adapter_sides(config: Any) -> int:
    """Numbers of an adapter of rank 1 on all linear layers: their inputs and outputs."""
    hidden, keys = config.hidden_size, _key_width(config)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    queries = config.num_attention_heads * _head_width(config)
    # (in + out) of q and o, k and v, gate, up and down
    sides = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + inner)
    return int(sides * config.num_hidden_layers)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _key_width(config: Any) -> int:
    """Numbers of one token's keys in one layer."""
    return (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * _head_width(config)
