"""The arithmetic of a merge: one weight and its adapters become one weight, in float32.

It doesn't use PEFT, because the proof compares it with PEFT's forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prerlkit.policy.save import scale_of
from prerlkit.runs.trained import Part

_A, _B, _M = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
_ROOT = "base_model.model."


@dataclass(frozen=True, slots=True)
class Factors:
    """The change of one weight by one adapter: scale · up @ down.

    Attributes:
        down: [r, in]
        up: [out, r]
        magnitude: DoRA's, [out], else None.
    """

    down: Tensor
    up: Tensor
    scale: float
    magnitude: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Folds:
    """All changes of a merge.

    Attributes:
        factors: by the parameter's name in the model, adapters bottom first.
        transposed: names of weights that are held as [in, out] (GPT-2's Conv1D).
    """

    factors: dict[str, tuple[Factors, ...]]
    transposed: frozenset[str]

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        """Return the weight with its adapters in it, float32; a weight without adapters is returned unchanged."""
        if name not in self.factors:
            return weight
        if name in self.transposed:
            return folded(weight.T, self.factors[name]).T.contiguous()
        return folded(weight, self.factors[name])


def folded(weight: Tensor, factors: Sequence[Factors]) -> Tensor:
    """Return W + Σ scale · up @ down, float32. With DoRA (arXiv 2402.09353) the rows get the learned norms.

    Args:
        weight: [out, in]
    """
    total = weight.float().clone()
    for one in factors:
        total.addmm_(one.up.float(), one.down.float(), alpha=one.scale)
        if one.magnitude is not None:
            total *= (one.magnitude.float() / torch.linalg.norm(total, dim=1))[:, None]
    return total


def folds(parts: Sequence[Part], model: Any, configs: Sequence[Any], names: dict[str, str], scale: float) -> Folds:
    """Sort the parts' factors by the weights that they change.

    Args:
        model: the model without adapters; it shows how its layers hold their weights.
        configs: PEFT's configuration of each part.
        names: of `Layout.names`.
        scale: multiplies every adapter.
    """
    from transformers.pytorch_utils import Conv1D

    found: dict[str, tuple[Factors, ...]] = {}
    transposed = {names[f"{n}.weight"] for n, m in model.named_modules() if isinstance(m, Conv1D)}
    for part, config in zip(parts, configs, strict=True):
        for key in sorted(k for k in part.tensors if k.endswith(_A)):
            module = key.removesuffix(_A)
            name = names[module.removeprefix(_ROOT) + ".weight"]
            magnitude = part.tensors.get(module + _M)
            one = Factors(part.tensors[key], part.tensors[module + _B], scale * scale_of(config), magnitude)
            found[name] = (*found.get(name, ()), one)
    return Folds(found, frozenset(transposed & set(found)))
