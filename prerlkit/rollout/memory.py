"""The memory that an engine needs: weights, adapter, and keys and values of a number of full-length sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLOCK = 128
"""Most tokens of a cache block; each sequence's last block may be almost empty. 128 on a CPU, 16 on CUDA."""
OVERHEAD = 2 << 30
"""Bytes of vLLM's share that are no weights and no cache: activations and graphs. An estimate, not run here."""
CONTEXT = 1 << 29
"""Of vLLM's CUDA context. vLLM 0.32 measures its share from after the context on (`gpu_worker.init_snapshot`), so the
context comes on top of the share. An estimate, not run here."""
ASLEEP = 1 << 30
"""Bytes that it keeps while it sleeps: context and graphs. An estimate, not run here."""
FRAGMENTATION = 0.08
"""Share that torch's allocator loses between blocks. Ours: not measured on a GPU yet."""
SPARE = 1 << 30
"""Bytes of the device that stay free."""


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """What an engine holds, bytes."""

    weights: int
    adapter: int
    cache: int
    sequence: int
    """Bytes of the cache for one sequence of full length: vLLM doesn't start with less."""
    pinned: int = 0
    """Bytes of the host's memory for weights and adapter while the engine sleeps."""

    @property
    def total(self) -> int:
        """With vLLM's own overhead."""
        return self.weights + self.adapter + self.cache + OVERHEAD

    def share(self, device: int, free: int) -> float:
        """Return vLLM's gpu_memory_utilization, for a device of `device` bytes of which `free` are free now.

        Where not all fits, it is the free memory without vLLM's context. Sequences then wait for a place in the cache,
        and nothing fails.
        """
        return min(self.total, max(free - SPARE - CONTEXT, 0)) / device


def engine_memory(config: Any, *, weights: int, rank: int, sequences: int, length: int, item: int = 2) -> EngineMemory:
    """Return the bytes for a causal LM of transformers' `config`.

    Args:
        weights: bytes of the weights as the engine holds them.
        rank: of the adapter's slot.
        sequences, length: decoded at once, and tokens of each.
        item: bytes of a number of the adapter and the cache.
    """
    sequence = _sequence(config, length, item)
    adapter = rank * adapter_sides(config) * item  # vLLM pads each slot to max_lora_rank
    pinned = int(weights * _pinned_share(config)) + 2 * adapter  # its factors are small: at worst the next power of two
    return EngineMemory(weights, adapter, sequences * sequence, sequence, pinned)


def _sequence(config: Any, length: int, item: int) -> int:
    """Return the bytes of one sequence in vLLM's cache: keys and values, and states of layers that have no keys.

    vLLM 0.32 gives both pages of one size: a block holds as many tokens as make it as large as a state. With prefix
    caching (`mamba_cache_mode: align`) a layer keeps two states of a sequence.
    """
    linear = _linear_layers(config)
    token, state = 2 * key_width(config) * item, _state(config, item) if linear else 0
    block = max(BLOCK, -(-state // token))
    keys = -(-(length + 1) // block) * block * token
    return (config.num_hidden_layers - linear) * keys + linear * 2 * state


def _linear_layers(config: Any) -> int:
    """Return how many layers are gated delta nets (Qwen3.5), which have a state of one size instead of keys."""
    types = getattr(config, "layer_types", None) or ()
    return types.count("linear_attention") if hasattr(config, "linear_num_value_heads") else 0


def _delta_net(config: Any) -> tuple[int, int]:
    """Return the width of a gated delta net's queries, keys and values together, and of the values alone."""
    values = config.linear_num_value_heads * config.linear_value_head_dim
    return 2 * config.linear_num_key_heads * config.linear_key_head_dim + values, values


def _state(config: Any, item: int) -> int:
    """Return the bytes of a gated delta net's state of one sequence: convolution, and recurrence in float32."""
    mixed, values = _delta_net(config)
    return int((config.linear_conv_kernel_dim - 1) * mixed * item + 4 * values * config.linear_key_head_dim)


def quantized_weights(config: Any, weights: int) -> int:
    """Return the bytes of 16-bit `weights` once its linear layers hold 8-bit numbers; the tables stay.

    Scales are left out: one number for a tensor, or for an output channel.
    """
    layer, tables = _weights(config)
    linear = sum(layer) * config.num_hidden_layers
    return int(weights * (1 - 0.5 * linear / (linear + sum(tables))))


def _weights(config: Any) -> tuple[list[int], list[int]]:
    """Return the sizes of a layer's weights as vLLM fuses them, and of the tables of tokens."""
    hidden, keys = config.hidden_size, key_width(config)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    queries = config.num_attention_heads * _head_width(config)
    tables = [config.vocab_size * hidden] * (1 if getattr(config, "tie_word_embeddings", False) else 2)
    return [(queries + 2 * keys) * hidden, queries * hidden, 2 * inner * hidden, inner * hidden], tables


def _pinned_share(config: Any) -> float:
    """Return the bytes of pinned host memory for a byte of weights.

    vLLM's level-1 sleep copies each allocation into a pinned tensor, and torch's host allocator rounds each of those
    to a power of two. An allocation is one weight as vLLM fuses them: queries with keys and values, gate with up.
    """
    layer, tables = _weights(config)
    sizes = [2 * numbers for numbers in layer * config.num_hidden_layers + tables]
    return sum(_pinned(size) for size in sizes) / sum(sizes)


def _pinned(size: int) -> float:
    """Return the pinned bytes for a weight of `size`: under 10 MiB torch puts several into a segment of 20 MiB."""
    return 1 << (size - 1).bit_length() if size >= 10 << 20 else size * 32 / 20


def adapter_sides(config: Any) -> int:
    """Return the size of an adapter of rank 1 on all linear layers: their inputs and outputs."""
    hidden, keys = config.hidden_size, key_width(config)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    queries = config.num_attention_heads * _head_width(config)
    # (in + out) of q and o, k and v, gate, up and down
    attention, mlp = 2 * (hidden + queries) + 2 * (hidden + keys), 3 * (hidden + inner)
    sides, linear = (attention + mlp) * config.num_hidden_layers, _linear_layers(config)
    if linear:  # these models gate their attention: q gives twice the width
        sides += (config.num_hidden_layers - linear) * queries
        mixed, values = _delta_net(config)
        inputs = 4 * hidden + mixed + values + 2 * config.linear_num_value_heads  # qkv, z, b and a
        sides += linear * (inputs + values + hidden - attention)
    return int(sides)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def key_width(config: Any) -> int:
    """Return the size of one token's keys in one layer."""
    return (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * _head_width(config)
