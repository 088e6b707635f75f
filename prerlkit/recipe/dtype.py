"""Resolves `dtype: auto` on this machine when a recipe is read, so that the run records the dtype."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from prerlkit.recipe.products import Rates, measured_rates

Dtype = Literal["bfloat16", "float16", "float32"]
BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of one number."""

_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Files of NVIDIA's driver, of Windows' GPUs seen from WSL, of AMD's driver."""
_INSTRUCTIONS = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)


def auto(device: str, root: Path = Path("/"), rates: Callable[[Path], Rates] = measured_rates) -> Dtype:
    """Return bfloat16 on a card, and on a CPU the faster one of float32 and bfloat16.

    A CPU without bfloat16 instructions isn't measured: float32 is several times faster there. float16 is never chosen:
    models that were trained in bfloat16 have activations beyond its range.

    Args:
        device: `model.device`.
        root: where /proc and /dev are, for tests.
        rates: measures a CPU; reads the file that an earlier measurement wrote, without torch.
    """
    if device != "cpu" and _has_accelerator(root):
        return "bfloat16"
    found = cpu_rates(root, rates)
    return max(found.items(), key=lambda pair: pair[1], default=("float32", 0.0))[0]


def cpu_rates(root: Path = Path("/"), rates: Callable[[Path], Rates] = measured_rates) -> Rates:
    """Return GFLOP/s of one CPU thread by dtype. A CPU without bfloat16 instructions isn't measured: empty."""
    return rates(root) if has_bfloat16(root) else {}


def has_bfloat16(root: Path = Path("/")) -> bool:
    """Return whether this machine's CPU computes in bfloat16: AVX512-BF16, AMX or Arm's BF16."""
    try:
        return bool(_INSTRUCTIONS.search((root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False


def _has_accelerator(root: Path) -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return shutil.which("nvidia-smi") is not None or any((root / path.lstrip("/")).exists() for path in _FILES)
