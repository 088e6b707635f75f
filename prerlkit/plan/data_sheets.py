"""Memory, bandwidth and speed of cards, by their data sheets. Without torch, for the shell's completion."""

from __future__ import annotations

CARDS = {
    "rtx3060": (12288, 360, 25),
    "rtx3090": (24576, 936, 71),
    "rtx4060": (8188, 272, 30),
    "rtx4060ti-16": (16380, 288, 44),
    "rtx4070": (12282, 504, 58),
    "rtx4080": (16376, 717, 97),
    "rtx4090": (24564, 1008, 165),
    "rtx5090": (32607, 1792, 210),
    "t4": (15360, 320, 65),
    "l4": (23034, 300, 121),
    "a10": (23028, 600, 125),
    "a100-40": (40960, 1555, 312),
    "a100-80": (81920, 2039, 312),
    "h100": (81559, 3352, 989),
}
"""MiB that nvidia-smi reports, GB/s, 16-bit TFLOP/s with float32 sums."""
