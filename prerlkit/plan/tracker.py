"""Bytes alive, counted from inside torch: every storage from the operation that made it to the moment it is freed.

It counts a real step on a CPU and a traced step on the meta device alike, so that the two can be compared.
"""

from __future__ import annotations

import functools
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

BASE, ADAPTERS, GRADIENTS, OPTIMIZER = "base weights", "adapters", "gradients", "optimizer"
CACHE, LOGITS, DEQUANTIZED, ACTIVATIONS = "KV cache", "logits", "dequantized weights", "activations"
ROLLOUT, EVALUATION = "rollout", "evaluation"
"""Phases in which there is a cache."""

_DEQUANTIZING = ("bitsandbytes::gemm_4bit",)
"""Operations that make a 16-bit copy of a whole weight inside, where no mode sees it."""


@functools.cache
def _is_compound(func: Any) -> bool:
    """Whether an operation is made of others, which allocate."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


@dataclass(slots=True)
class Peak:
    """The largest number of bytes alive in one phase, and what they were."""

    total: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)


class MemoryTracker(TorchDispatchMode):
    """While active, counts bytes of tensors on `device`; `phase` names where a peak belongs.

    Args:
        vocabulary: a tensor with this axis is logits or made of them.
        cache_shape: (key heads, head width): in rollouts a tensor [B, heads, S, width] is cache.
    """

    def __init__(self, device: str, vocabulary: int, cache_shape: tuple[int, int]) -> None:
        super().__init__()
        self._device = device
        self._vocabulary = vocabulary
        self._cache_shape = cache_shape
        self._alive: dict[int, tuple[int, str, weakref.ref[Any]]] = {}
        self._by_kind: dict[str, int] = defaultdict(int)
        self._adapter_shapes: set[tuple[torch.Size, torch.dtype]] = set()
        self.total = 0
        self.operations = 0
        self.phase = ""
        self.peaks: dict[str, Peak] = defaultdict(Peak)

    def hold(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Count tensors that were there before, or give those already counted their proper kind."""
        for tensor in tensors:
            if kind == ADAPTERS:
                self._adapter_shapes.add((tensor.shape, tensor.dtype))
            self._count(tensor, kind, replace=True)
        self._note_peak()

    @property
    def by_kind(self) -> dict[str, int]:
        """What is alive now."""
        return {kind: size for kind, size in self._by_kind.items() if size}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.is_inference_mode_enabled() and _is_compound(func):  # elsewhere they arrive in parts
            with self:
                return func.decompose(*args, **(kwargs or {}))
        out = self.compute(func, args, kwargs or {})
        self.operations += 1
        name = func._schema.name
        if name in _DEQUANTIZING:  # (A, B, shape of B, …)
            self._note_peak(extra=args[2][0] * args[2][1] * args[0].element_size())
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._count(tensor, self._kind(name, tensor))
        self._note_peak()
        return out

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation itself."""
        return func(*args, **kwargs)

    def _kind(self, name: str, tensor: Tensor) -> str:
        shape = tensor.shape
        if self._vocabulary in shape:
            return LOGITS
        if self.phase == "optimizer":
            return OPTIMIZER
        if name.startswith("bitsandbytes::dequantize"):
            return DEQUANTIZED
        if self.phase in (ROLLOUT, EVALUATION) and len(shape) == 4 and (shape[1], shape[3]) == self._cache_shape:
            return CACHE
        if self.phase == "backward" and (shape, tensor.dtype) in self._adapter_shapes:
            return GRADIENTS
        return ACTIVATIONS

    def _count(self, tensor: Tensor, kind: str, *, replace: bool = False) -> None:
        if tensor.device.type != self._device or tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if known := self._alive.get(key):
            if known[0] == size and not (replace and known[1] != kind):
                return
            self._add(known[1], -known[0])
            self._alive[key] = (size, kind if replace else known[1], known[2])
            self._add(self._alive[key][1], size)
            return
        self._alive[key] = (size, kind, weakref.ref(storage, self._freed(key)))
        self._add(kind, size)

    def _freed(self, key: int) -> Callable[[Any], None]:
        def forget(_: Any) -> None:
            size, kind, _reference = self._alive.pop(key)
            self._add(kind, -size)

        return forget

    def _add(self, kind: str, size: int) -> None:
        self.total += size
        self._by_kind[kind] += size

    def _note_peak(self, extra: int = 0) -> None:
        peak = self.peaks[self.phase]
        if self.total + extra > peak.total:
            peak.total = self.total + extra
            peak.by_kind = {kind: size for kind, size in self._by_kind.items() if size}
            if extra:
                peak.by_kind[DEQUANTIZED] = peak.by_kind.get(DEQUANTIZED, 0) + extra
