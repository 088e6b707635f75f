"""A cache of keys and values with preallocated room: a new token is written into its place.

transformers' dynamic cache copies every tensor for every token, which was a quarter of the time of decoding. Attention
gets the whole buffers, and the free columns are masked like padding. The CPU's batched products would copy a view of
the filled part for every token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 32
"""Most columns added when a layer is full. On average half of them are free, and attention reads them too."""


NewCache = Callable[[Any, int], DynamicCache]
"""A model's configuration, and the most tokens that follow a prompt → an empty cache for it."""


def growing_cache(config: Any, new_tokens: int) -> DynamicCache:
    """Return a cache without free columns, for models that use its length (ALiBi's slopes by position)."""
    return DynamicCache(config=config)


class PreallocatedLayer(DynamicLayer):
    """A layer whose `keys` and `values` [B, K, C, D] hold `length` columns and zeros after them."""

    def __init__(self, room: int = ROOM) -> None:
        super().__init__()
        self.length = 0
        self._room = room

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write [B, K, T, D] after the present columns; return the whole buffers."""
        if not self.length:  # a prefill, about to be repeated for its group: no room yet
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states.contiguous(), value_states.contiguous()
        else:
            capacity, end = self._capacity(key_states.shape[2]), self.length + key_states.shape[2]
            self.keys, self.values = _roomy(self.keys, capacity), _roomy(self.values, capacity)
            self.keys[:, :, self.length : end] = key_states
            self.values[:, :, self.length : end] = value_states
        self.length += key_states.shape[2]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the number of columns that hold a token."""
        return self.length

    @property
    def full(self) -> bool:
        """Whether the next token needs new buffers."""
        return self._capacity(1) > self.keys.shape[2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many columns attention sees after `query_length` more are written, and where they begin."""
        return self._capacity(query_length), 0

    def _capacity(self, new: int) -> int:
        held = self.keys.shape[2] if self.length else 0
        needed = self.length + new
        if needed <= held:
            return held
        return needed + self._room - 1 if self.length else needed


def preallocated_cache(config: Any, new_tokens: int) -> DynamicCache:
    """Return a cache for this model; preallocated if all layers are plain (no sliding window, no recurrent state)."""
    cache = DynamicCache(config=config)
    if all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [PreallocatedLayer(room_for(new_tokens)) for _ in cache.layers]
    return cache


def room_for(new_tokens: int) -> int:
    """Return how many columns are added at a time: at most `ROOM`, in equal parts, so that few stay free at the end."""
    written = max(1, new_tokens - 1)  # the last token is never fed
    growths = -(-written // ROOM)
    return -(-written // growths)


def cut(cache: DynamicCache, mask_BT: Tensor) -> Tensor:
    """Drop the leading columns of a preallocated cache that no row uses; return the mask without them.

    Long rows that have left used them. Without this the buffers would keep growing after the longest sequence has left.
    """
    unused = int(mask_BT.any(0).long().argmax())
    if unused:
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, unused:], layer.values[:, :, unused:]
            layer.length -= unused
    return mask_BT[:, unused:]


def join(cache: DynamicCache, mask_BT: Tensor, other: DynamicCache, other_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Append the rows of `other` to those of `cache`, both preallocated, with their last columns aligned.

    Leading columns that no row uses are cut. `other` is consumed layer by layer: both are never held whole.

    Args:
        mask_BT, other_BT: which columns hold a token; as wide as their caches are long.

    Returns:
        The two masks, of one width now.
    """
    width = max(mask.shape[1] - int(mask.any(0).long().argmax()) for mask in (mask_BT, other_BT))
    for layer, new in zip(cache.layers, other.layers, strict=True):
        layer.keys = torch.cat([_aligned(layer.keys, layer.length, width), _aligned(new.keys, new.length, width)])
        layer.values = torch.cat([_aligned(layer.values, layer.length, width), _aligned(new.values, new.length, width)])
        layer.length = width
        del new.keys, new.values
    masks = [torch.nn.functional.pad(m[:, -width:], (max(0, width - m.shape[1]), 0)) for m in (mask_BT, other_BT)]
    return masks[0], masks[1]


def _aligned(held: Tensor, length: int, width: int) -> Tensor:
    """Return the last `width` columns of the `length` that hold tokens, zeros in front where there are fewer."""
    kept = held[:, :, max(0, length - width) : length]
    return torch.nn.functional.pad(kept, (0, 0, width - kept.shape[2], 0))


def _roomy(held: Tensor, capacity: int) -> Tensor:
    if held.shape[2] == capacity:
        return held
    grown = held.new_zeros(*held.shape[:2], capacity, held.shape[3])
    grown[:, :, : held.shape[2]] = held
    return grown
