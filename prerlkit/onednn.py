"""Products with a fixed weight on a CPU by oneDNN, from a copy of the weight in oneDNN's own blocked layout.

torch gives its libraries a row-major weight, which they reorder in every call. In float32 it calls MKL, which makes no
use of AVX-512 on processors that are not Intel's. `python -m benchmarks.machine` prints the rates.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

DTYPES = (torch.bfloat16, torch.float32)
"""float16 needs instructions that few processors have."""
_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "64"}
"""How many products oneDNN, and torch's layer above it, keep prepared: one for each number of rows. By default 1,024,
which took 0.7 GB in a run whose batches differ in length. Both are read at the process's first product."""
for _name, _count in _KEPT.items():
    os.environ.setdefault(_name, _count)
_ROWS = 64
"""For which oneDNN chooses the layout; the choice hardly depends on it."""


def reorders(weight: Tensor) -> bool:
    """Return whether oneDNN takes a copy of this weight here."""
    return weight.is_cpu and weight.dtype in DTYPES and torch.backends.mkldnn.is_available()


@torch.no_grad()
def reordered(weight_OI: Tensor) -> Tensor:
    """Return a copy of the weight in oneDNN's layout, an opaque tensor of about the same size."""
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous(), _ROWS)
    return made


@torch.no_grad()
def linear(x: Tensor, reordered_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b. [..., I] → [..., O]"""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, reordered_OI, bias_O, "none", [], "")
    return out
