"""RMS norms whose backward is one operation: on a CPU it takes half as many memory passes."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn


def use_own_norms(base: nn.Module) -> None:
    """Let each RMS norm of Llama's form compute its gradient in one operation. Its values stay the same bits."""
    classes: dict[type[nn.Module], type[nn.Module]] = {}
    for module in base.modules():
        if _is_llama_norm(module):
            kind = type(module)
            own = classes.setdefault(kind, type(kind.__name__, (OwnNorm, kind), {"__module__": kind.__module__}))
            module.__class__ = own


class OwnNorm(nn.Module):
    """What a norm's class gets in front of it: the backward below where the norm itself is frozen."""

    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        own = hidden_states.requires_grad and torch.is_grad_enabled() and not self.weight.requires_grad
        plain = super().forward
        out: Tensor = _RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon) if own else plain(hidden_states)
        return out


@torch.no_grad()
def _is_llama_norm(module: Any) -> bool:
    """Whether `module` computes weight · x/√(mean x² + ε), measured with other weights: its own may be on no device."""
    if isinstance(module, OwnNorm) or "variance_epsilon" not in vars(module):
        return False
    if not type(module).__name__.endswith("RMSNorm"):
        return False
    probe, (width,) = copy(module), module.weight.shape
    generator = torch.Generator().manual_seed(0)
    weight_D, x_MD = (torch.randn(n, width, generator=generator).to(module.weight.dtype) for n in (1, 4))
    probe._parameters = {"weight": nn.Parameter(weight_D[0])}
    return torch.equal(probe(x_MD), _normed(x_MD, weight_D[0], module.variance_epsilon)[0])


def _normed(x: Tensor, weight_D: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The norm of x and 1/√(mean x² + ε), in the order of sums and roundings of transformers' Llama."""
    wide = x.to(torch.float32, copy=True)
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight_D * wide.mul_(scale).to(x.dtype), scale


class _RMSNorm(torch.autograd.Function):
    """Keeps x and one number for each row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        out, scale = _normed(x, weight_D, epsilon)
        ctx.save_for_backward(x, scale, weight_D)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, scale, weight_D = ctx.saved_tensors
        grad, wide = (grads[0] * weight_D).float(), x.float()
        shared = (grad * wide).mean(-1, keepdim=True).mul_(scale).mul_(scale)
        return grad.addcmul_(wide, shared, value=-1).mul_(scale).to(x.dtype), None, None
