"""The tracker for a step without values: what the code reads from tensors is answered, everything else is shapes.

Code that trains and samples reads a number now and then (`loss.item()`, the rows that are finished). Here such a number
is 0, so that nothing must end a traced sample: every length is the longest. Masks choose everything.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from prerlkit.plan.tracker import MemoryTracker
from prerlkit.rollout.sampling import rows_at_once

_aten = torch.ops.aten


@functools.cache
def _is_new(func: Any) -> bool:
    """Whether an operation's results are new tensors, and it leaves its inputs as they are."""
    schema = func._schema
    if schema.name == "aten::_unsafe_view":  # a view, whatever its schema says
        return False
    return (
        bool(schema.returns)
        and all(x.alias_info is None for x in (*schema.arguments, *schema.returns))
        and all(str(x.type) == "Tensor" for x in schema.returns)
    )


_IN_PLACE = frozenset(
    f"aten::{name}_"
    for name in (
        *("add", "addcdiv", "addcmul", "addmm", "clamp", "copy", "div", "exp", "fill", "lerp"),
        *("masked_fill", "mul", "neg", "normal", "sub", "uniform", "zero"),
    )
)
"""Operations that write their first argument, give it back and change no shape: without values there is nothing to do.
Asking torch for them, whose shape functions are Python, was a third of a plan's time."""


def _key(value: Any) -> Any:
    """What decides the shape of a result."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device.type
    if isinstance(value, tuple | list):
        return tuple(_key(x) for x in value)
    return type(value), value


class MetaTracker(MemoryTracker):
    """Counts a step on the meta device.

    Layers are alike: what an operation made of such inputs is remembered, and made again without asking torch, whose
    shape functions are Python and slow. Operations that return or change an input are always asked.
    """

    def __init__(self, device: str, vocabulary: int, cache_shape: tuple[int, int]) -> None:
        super().__init__(device, vocabulary, cache_shape)
        self._known: dict[Any, list[tuple[torch.Size, tuple[int, ...], torch.dtype]]] = {}

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _is_new(func):
            if func._schema.name in _IN_PLACE and args[0].is_meta:
                return args[0]
            return self._ask(func, args, kwargs)
        key = (func, _key(args), _key(tuple(kwargs.items())))
        if (known := self._known.get(key)) is None:
            out = self._ask(func, args, kwargs)
            several = out if isinstance(out, tuple) else (out,)
            if all(isinstance(x, Tensor) and x.is_meta for x in several):
                self._known[key] = [(x.shape, x.stride(), x.dtype) for x in several]
            return out
        made = tuple(_aten.empty_strided(size, stride, dtype=d, device="meta") for size, stride, d in known)
        return made if len(func._schema.returns) > 1 else made[0]

    def _ask(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is _aten._local_scalar_dense.default and args[0].is_meta:
            return torch.zeros((), dtype=args[0].dtype, device="cpu").item()
        if func is _aten._to_copy.default and args[0].is_meta and kwargs.get("device") == torch.device("cpu"):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device="cpu")
        if func is _aten.nonzero.default and args[0].is_meta:
            return args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.long)
        if func is _aten._grouped_mm.default and args[0].dtype != torch.bfloat16:  # shapes are known in bfloat16 only
            halves = [x.to(torch.bfloat16) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args]
            return func(*halves, **kwargs).to(args[0].dtype)
        if func._schema.name == "bitsandbytes::int8_vectorwise_quant" and args[0].is_meta:
            return (*func(args[0])[:2], args[0].new_empty(0, dtype=torch.long))  # no column stands out
        if func._schema.name == "bitsandbytes::int8_mixed_scaled_mm" and args[0].is_meta:
            x, quantized, weight = args[:3]
            return x.new_empty(*quantized.shape[:-1], weight.shape[0]), x.new_empty(0, 0)
        return func(*args, **kwargs)


def _attention(
    device_type: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """`scaled_dot_product_attention` by the kernel that a real device would use, not the one that holds [T, T].

    cuda takes the memory-efficient kernel with a mask, and flash without; cpu its own flash kernel.
    """
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # kernels take it as numbers to add
        attn_mask = torch.where(attn_mask, query.new_empty(()), query.new_empty(()))
    if device_type == "cpu":
        made = _aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
        )
        return made[0]
    needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    if attn_mask is None:
        return _aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
    bias = attn_mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    made = _aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, needs_gradient, dropout_p, is_causal, scale=scale
    )
    return made[0]


@contextmanager
def fake_tensors(device_type: str) -> Iterator[None]:
    """Within it a model on the meta device behaves as on a device of `device_type`."""
    with (
        patch("torch.nn.functional.scaled_dot_product_attention", functools.partial(_attention, device_type)),
        patch("prerlkit.rollout.sampling.rows_at_once", lambda _, vocabulary: rows_at_once(device_type, vocabulary)),
        # transformers looks into position ids for several texts packed in one row, which we never do.
        patch("transformers.masking_utils.find_packed_sequence_indices", lambda *_, **__: None),
    ):
        yield
