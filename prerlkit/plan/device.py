"""The device that a plan is for: the one at hand, a card by name, or so many bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from prerlkit.errors import UsageError
from prerlkit.host_memory import free_host_memory
from prerlkit.plan.data_sheets import CARDS
from prerlkit.policy.base import pick_device
from prerlkit.rollout.memory import FRAGMENTATION
from prerlkit.suggest import nearest

GIB = 2**30
_CUDA_CONTEXT = 6 * GIB // 10
"""Driver context, kernels and cuBLAS workspaces of a process. Ours: 0.4 to 0.7 GiB is usual."""
_LIBRARIES = GIB
"""Resident memory of Python, torch and transformers on a CPU (python -m benchmarks.plan prints it)."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a recipe would run.

    Attributes:
        kind: `cuda` or `cpu`: it decides which kernels are planned with.
        memory: bytes there, all programs together.
        overhead: bytes that this process needs before any tensor.
        bandwidth: of its memory, bytes/s; None where unknown.
        flops: 16-bit products with float32 sums, operations/s, by data sheet; None where unknown.
        bfloat16: whether it multiplies in bfloat16. Cards before compute capability 8.0 convert each number.
    """

    name: str
    kind: str
    memory: int
    overhead: int
    bandwidth: float | None = None
    flops: float | None = None
    bfloat16: bool = True

    def needed(self, tracked: int) -> int:
        """Bytes that a phase takes here: tracked ones, what the allocator loses, and the process itself."""
        return int(tracked * (1 + FRAGMENTATION)) + self.overhead


_WITHOUT_BFLOAT16 = ("t4",)
"""Compute capability 7.5."""


def card(name: str) -> Device:
    """A card by name. Raises UsageError for an unknown one."""
    if name not in CARDS:
        raise UsageError(
            f'--gpu: "{name}" is not known{nearest(name, list(CARDS))}',
            f"Known: {', '.join(CARDS)}. Or give its memory: --vram 24GiB.",
        )
    memory, bandwidth, flops = CARDS[name]
    native = name not in _WITHOUT_BFLOAT16
    return Device(name, "cuda", memory * 2**20, _CUDA_CONTEXT, bandwidth * 1e9, flops * 1e12, native)


def dtype_note(dtype: str, device: Device) -> str:
    """Return what to change where the device has no products in the model's dtype; "" where there is nothing."""
    if dtype != "bfloat16" or device.bfloat16:
        return ""
    return f"{device.name} has no bfloat16 and converts every number, which is slow: set model.dtype to float16"


def of_size(text: str) -> Device:
    """A CUDA card with so much memory: `24GiB`, `24GB` or `24` (GiB). Raises UsageError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(GiB|GB|MiB|MB|G)?\s*", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise UsageError(f'--vram: "{text}" is no amount of memory', "Write --vram 24GiB.")
    unit = {"gb": 10**9, "mb": 10**6, "mib": 2**20}.get((found[2] or "").lower(), GIB)
    return Device(f"a card with {text.strip()}", "cuda", int(float(found[1]) * unit), _CUDA_CONTEXT)


def choose(wanted: str, vram: str | None, gpu: str | None) -> Device:
    """Return the device of the options `--vram` and `--gpu`; without them the one at hand.

    Raises:
        UsageError: both are given, or one of them is wrong.
    """
    if vram and gpu:
        raise UsageError("--vram and --gpu exclude each other.", "Choose one.")
    if gpu:
        return card(gpu)
    return of_size(vram) if vram else at_hand(wanted)


def at_hand(wanted: str) -> Device:
    """The device that a run with `model.device: wanted` would take, with the memory that is free on it now.

    Raises:
        UsageError: a run would refuse this machine (`pick_device`).
    """
    if pick_device(wanted).type == "cuda":
        free, _ = torch.cuda.mem_get_info()
        native = torch.cuda.get_device_capability() >= (8, 0)
        return Device(torch.cuda.get_device_name(), "cuda", free, _CUDA_CONTEXT, bfloat16=native)
    return Device("this machine's memory", "cpu", free_host_memory(), _LIBRARIES)
