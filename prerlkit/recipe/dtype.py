"""What `dtype: auto` is on this machine: settled when a recipe is read, so that a run knows and keeps what it was."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Dtype = Literal["bfloat16", "float16", "float32"]
BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of one number."""

_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Files of NVIDIA's driver, of Windows' GPUs seen from WSL, of AMD's driver."""
_INSTRUCTIONS = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)


def auto(device: str, root: Path = Path("/")) -> Dtype:
    """bfloat16, but float32 on a CPU without bfloat16 instructions, where float32 is several times faster.

    Looks at files alone: a recipe is checked without torch.

    Args:
        device: `model.device`.
        root: where /proc and /dev are, for tests.
    """
    return "bfloat16" if (device != "cpu" and _has_accelerator(root)) or has_bfloat16(root) else "float32"


def has_bfloat16(root: Path = Path("/")) -> bool:
    """Whether this machine's CPU computes in bfloat16: AVX512-BF16, AMX or Arm's BF16."""
    try:
        return bool(_INSTRUCTIONS.search((root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False


def _has_accelerator(root: Path) -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return shutil.which("nvidia-smi") is not None or any((root / path.lstrip("/")).exists() for path in _FILES)
