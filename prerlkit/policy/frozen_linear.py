"""Linear layers of a frozen base on a CPU, with copies of their weights in oneDNN's layout (`prerlkit/onednn.py`)."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from prerlkit import onednn
from prerlkit.host_memory import host_memory

COPIES = 2
"""Of each weight: one for x Wᵀ, and one of its transpose for the gradient of x."""
_LARGEST_BASE = 1 / 8
"""Share of the machine's memory up to which a base gets copies. By the whole memory, not by what is free: in float32
products from copies are rounded in another order, and a run must repeat."""


def use_own_linears(base: nn.Module) -> None:
    """Let each plain, frozen linear layer of `base` on a CPU compute as `FrozenLinear` does, unless `base` is large."""
    if not gets_copies(sum(p.numel() * p.element_size() for p in base.parameters())):
        return
    for module in base.modules():
        if type(module) is nn.Linear and onednn.reorders(module.weight):
            module.__class__ = FrozenLinear


def gets_copies(base_bytes: int) -> bool:
    """Return whether a base whose weights take so many bytes is small enough for copies."""
    return base_bytes <= _LARGEST_BASE * host_memory()


def is_plain(module: object) -> TypeGuard[nn.Linear]:
    """Return whether `module` is torch's own linear layer, in this form or as it was: no class that computes more."""
    return type(module) in (nn.Linear, FrozenLinear)


def product(linear: nn.Linear, x: Tensor) -> Tensor:
    """Return x Wᵀ + b of a frozen layer, without gradient."""
    if isinstance(linear, FrozenLinear) and linear.takes(x):
        return linear.product(x)
    return nn.functional.linear(x, linear.weight, linear.bias)


def input_gradient(linear: nn.Linear, grad: Tensor) -> Tensor:
    """Return grad W, the gradient of the input."""
    if isinstance(linear, FrozenLinear) and linear.takes(grad):
        return linear.input_gradient(grad)
    return grad @ linear.weight


class FrozenLinear(nn.Linear):
    """A linear layer with faster products, in bfloat16 with the same bits, as long as its weight is frozen.

    A copy is made at its first use, and made again when the weight has changed. torch does not count changes in place
    through `weight.data`: call `forget_copies` after one.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.takes(input):
            return super().forward(input)
        if not (input.requires_grad and torch.is_grad_enabled()):
            return self.product(input)
        # Reshaped out here: models change a layer's output in place, which torch allows of no view made in a Function.
        out_MO: Tensor = _FrozenProduct.apply(input.reshape(-1, input.shape[-1]), self)
        return out_MO.view(*input.shape[:-1], out_MO.shape[-1])

    def takes(self, input: Tensor) -> bool:
        """Return whether the products below are right for this input."""
        weight = self.weight
        return (
            type(input) is Tensor  # no tensor without values, as in a plan
            and input.is_cpu
            and weight.is_cpu
            and input.dtype == weight.dtype
            and input.dim() > 1
            and input.numel() > 0
            and not weight.requires_grad
            and not torch.is_autocast_enabled("cpu")
        )

    def product(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b. [..., I] → [..., O]"""
        return onednn.linear(x, self._copy("product"), self.bias)

    def input_gradient(self, grad: Tensor) -> Tensor:
        """Return grad W. [..., O] → [..., I]"""
        return onednn.linear(grad, self._copy("gradient"))

    def forget_copies(self) -> None:
        """Drop the copies; the next product makes them again."""
        self.__dict__.pop("_copies", None)

    def _copy(self, of: str) -> Tensor:
        weight, copies = self.weight, self.__dict__.setdefault("_copies", {})
        state = (weight.data_ptr(), weight._version)
        if copies.get("state") != state:
            copies.clear()
            # The weight is held: its memory is no other weight's as long as there are copies.
            copies.update(state=state, weight=weight.detach())
        if of not in copies:
            copies[of] = onednn.reordered(weight if of == "product" else weight.t())
        made: Tensor = copies[of]
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without copies: oneDNN's tensors can be neither pickled nor copied."""
        return {key: value for key, value in self.__dict__.items() if key != "_copies"}


class _FrozenProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_MI: Tensor, linear: FrozenLinear) -> Tensor:
        ctx.linear = linear
        return linear.product(x_MI)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return input_gradient(ctx.linear, grads[0]), None
