"""A LoRA layer's forward and backward as one operation: base product and adapters' product, added in place.

PEFT composes them of separate operations. Each makes a tensor of the layer's output, and one more in the backward pass:
on a CPU the memory passes took a tenth of a training step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from peft.tuners import lora
from torch import Tensor, nn

from prerlkit.policy.frozen_linear import FrozenLinear, input_gradient, is_plain, product

T = TypeVar("T")


class LoraLinear(lora.Linear):
    """PEFT's LoRA layer with a fused forward. It computes as PEFT does wherever the fused one is not right."""

    @classmethod
    def take(cls, module: nn.Module) -> None:
        """Give `module` this class if it is PEFT's layer for a plain linear layer."""
        if type(module) is lora.Linear and is_plain(module.base_layer):
            module.__class__ = cls

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        active = [key for key in self.active_adapters if key in self.lora_A]
        if args or kwargs or not active or not self._fuses(active, x):
            out: Tensor = super().forward(x, *args, **kwargs)
            return out
        inner, factors = self.base_layer, []
        for key in active:
            factors.append(self.lora_A[key].weight.to(x.dtype))
            factors.append((self.lora_B[key].weight * self.scaling[key]).to(x.dtype))
        # Reshaped out here: models change a layer's output in place, which torch allows of no view made in a Function.
        fused_MO: Tensor = _LoraProduct.apply(x.reshape(-1, x.shape[-1]), inner, *factors)
        return fused_MO.view(*x.shape[:-1], fused_MO.shape[-1])

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        super().merge(safe_merge, adapter_names)
        self._forget_copies()

    def unmerge(self) -> None:
        super().unmerge()
        self._forget_copies()

    def _forget_copies(self) -> None:
        """PEFT merges in place through `weight.data`."""
        if isinstance(self.base_layer, FrozenLinear):
            self.base_layer.forget_copies()

    def _fuses(self, active: list[str], x: Tensor) -> bool:
        """Whether the layer's function is xWᵀ + b + x(BA)ᵀ with W frozen and at hand."""
        inner = self.base_layer
        return not (
            self.merged
            or self.disable_adapters
            or self.cast_input_dtype_enabled  # of another tool's adapter: PEFT computes in the factors' dtype
            or x.dtype != inner.weight.dtype
            or inner.weight.requires_grad
            or _autocast()  # it would cast some of the products and not others
            or _is_changed(inner)
            or any(key in self.lora_variant or self._drops(key) for key in active)
            or any(_is_changed(factors[key]) for key in active for factors in (self.lora_A, self.lora_B))
        )

    def _drops(self, key: str) -> bool:
        return self.training and not isinstance(self.lora_dropout[key], nn.Identity)


def _autocast() -> bool:
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


def _is_changed(module: nn.Module) -> bool:
    """Whether a call of `module` does more than its class says. A hook may bring the weight (`publish/streamed.py`)."""
    return bool(
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_pre_hooks
        or module._backward_hooks
        or "forward" in vars(module)  # Accelerate and others replace it on the instance
    )


class _LoraProduct(torch.autograd.Function):
    """x Wᵀ + b + (x Aᵀ) Bᵀ of each adapter, B scaled. Keeps x and x Aᵀ, as PEFT's does, and no output.

    `factors` are A [R, I] and B [O, R] of each adapter in turn.
    """

    @staticmethod
    def forward(ctx: Any, x_MI: Tensor, linear: nn.Linear, *factors: Tensor) -> Tensor:
        out_MO = product(linear, x_MI)
        lows = []
        for down_RI, up_OR in _pairs(factors):
            lows.append(x_MI @ down_RI.t())
            out_MO.addmm_(lows[-1], up_OR.t())
        ctx.save_for_backward(x_MI, *factors, *lows)
        ctx.linear = linear
        return out_MO

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_MI, *kept = ctx.saved_tensors
        adapters = len(kept) // 3
        needs_x, _, *needs = ctx.needs_input_grad
        grad_MO = grads[0]
        x_grad_MI = input_gradient(ctx.linear, grad_MO) if needs_x else None
        factor_grads: list[Tensor | None] = []
        for (down_RI, up_OR), (needs_down, needs_up), low_MR in zip(
            _pairs(kept[: 2 * adapters]), _pairs(needs), kept[2 * adapters :], strict=True
        ):
            grad_low_MR = grad_MO @ up_OR if needs_x or needs_down else None
            if x_grad_MI is not None and grad_low_MR is not None:
                x_grad_MI.addmm_(grad_low_MR, down_RI)
            factor_grads.append(grad_low_MR.t() @ x_MI if grad_low_MR is not None and needs_down else None)
            factor_grads.append(grad_MO.t() @ low_MR if needs_up else None)
        return x_grad_MI, None, *factor_grads


def _pairs(values: Sequence[T]) -> Iterator[tuple[T, T]]:
    """What belongs to A and to B of each adapter."""
    return zip(values[::2], values[1::2], strict=True)
