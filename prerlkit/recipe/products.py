"""The speed of matrix products on this machine's CPU in each dtype: measured once, then read from a file.

The CPU's instructions don't decide it: on a processor with AVX512-BF16 and without AMX bfloat16 was slower than float32
(82 and 153 GFLOP/s), on another processor four times faster.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from importlib import metadata
from pathlib import Path
from typing import Literal

from prerlkit import files
from prerlkit.cache import cache_root

Measured = Literal["float32", "bfloat16"]
Rates = dict[Measured, float]
"""GFLOP/s of one thread."""
_DTYPES = ("float32", "bfloat16")
_SHAPES = ((64, 576, 1536), (512, 1536, 576))
"""Rows × width × width: a decode step and a micro-batch of SmolLM2-135M. Which dtype is faster depends on the machine
more than on the shape."""
_WAY = "reordered weights"
"""How the products are made; a file written with other products is not read."""
_REPEATS = 6
"""Of each product in each dtype, in turns. The best counts: other work on the machine only makes a product slower."""


def measured_rates(root: Path = Path("/")) -> Rates:
    """Return GFLOP/s of one thread in each dtype.

    The first call on a machine takes half a second and torch's import. Its result is kept in `machine.json` in
    prerlkit's cache, for this processor and this build of torch.

    Args:
        root: where /proc is, for tests.
    """
    file, key = cache_root() / "machine.json", _machine(root)
    known = _read(file)
    rates = known.get(key)
    if not isinstance(rates, dict) or not all(isinstance(rates.get(name), int | float) for name in _DTYPES):
        rates = _measure()
        with contextlib.suppress(OSError):  # a cache that can't be written costs half a second the next time
            files.write_text(file, json.dumps({**known, key: rates}, indent=1) + "\n")
    return {"float32": float(rates["float32"]), "bfloat16": float(rates["bfloat16"])}


def _machine(root: Path) -> str:
    """Return what the rates depend on: the processor with its instructions, and the build of torch."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    about = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return hashlib.sha256("\n".join([*about, metadata.version("torch"), _WAY]).encode()).hexdigest()[:16]


def _read(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _measure() -> Rates:
    """Return the rates by a few products, which leave torch's threads as they were."""
    import torch

    from prerlkit import onednn

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds: Rates = {"float32": 0.0, "bfloat16": 0.0}
        for rows, width, out in _SHAPES:
            best: Rates = {}
            for _ in range(_REPEATS):
                for dtype in seconds:
                    x = torch.ones(rows, width, dtype=getattr(torch, dtype))
                    weight = torch.ones(out, width, dtype=x.dtype)
                    copy = onednn.reordered(weight) if onednn.reorders(weight) else None
                    begun = time.perf_counter()
                    _ = torch.nn.functional.linear(x, weight) if copy is None else onednn.linear(x, copy)
                    best[dtype] = min(best.get(dtype, float("inf")), time.perf_counter() - begun)
            for dtype, took in best.items():
                seconds[dtype] += took
        operations = sum(2 * rows * width * out for rows, width, out in _SHAPES)
        return {dtype: round(operations / took / 1e9, 1) for dtype, took in seconds.items()}
    finally:
        torch.set_num_threads(threads)
