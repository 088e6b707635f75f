"""Linear layers while sampling: the base's product plus the adapters' products, without PEFT's forward.

PEFT's forward visits every adapter in Python, casts, and makes two tensors of the layer's output more than it needs.
To sample, all active adapters of a layer are one pair of factors, A stacked and B side by side (an identity), cast once
per batch of rollouts, and their product is added in place.

They are never folded into 16-bit weights here, although one product fewer would be faster. The updates of RL are so
small compared with the weights that rounding the sum would sample from another policy than the trained one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class FusedLora:
    """The fast forwards of a model's linear layers.

    Args:
        base: the causal LM, adapters in place.
    """

    def __init__(self, base: Any) -> None:
        self._base = base

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Use the layers' fast forwards within the block. Factors are read at its start."""
        changed: list[nn.Module] = []
        try:
            for module in list(self._base.modules()):
                forward = self._forward_of(module)
                if forward is not None:
                    module.forward = forward
                    changed.append(module)
            yield
        finally:
            for module in changed:
                del module.forward

    @torch.no_grad()
    def _forward_of(self, module: Any) -> Any:
        """Return a forward for `module`, or None where its default forward is right."""
        if not isinstance(module, LoraLayer) or not isinstance(module.get_base_layer(), nn.Linear | Conv1D):
            return None  # PEFT also wraps weights that are no linear layers (`target_parameters`)
        active = [key for key in module.active_adapters if key in module.lora_A]
        if module.merged or module.disable_adapters or not active or any(key in module.lora_variant for key in active):
            return None
        dtype, base_layer = self._base.dtype, module.get_base_layer()
        inner = base_layer.forward
        down_IR = torch.cat([module.lora_A[key].weight for key in active]).to(dtype).t()
        scaled = [module.lora_B[key].weight * module.scaling[key] for key in active]
        up_RO = torch.cat(scaled, dim=1).to(dtype).t().contiguous()

        def forward(x: Tensor) -> Tensor:
            out: Tensor = inner(x)
            out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ down_IR, up_RO)
            return out

        return forward
