"""The limits that other figures are compared with: this machine's matrix products and memory bandwidth.

    python -m benchmarks.machine [--repeats N] [--quick] [--json FILE]

Products have the shapes of SmolLM2-135M's linear layers and head. All 30 layers follow each other: a weight is not in a
cache when it is used. GB/s: a sum over 1 GB. Seconds of a decode step: 64 sequences through all weights, at the rate of
64 rows. No program that makes these products can be faster. int8: weights with a scale for each output, either with
inputs in bfloat16 (`int8 weights`), or with inputs that are rounded to int8 row by row (`int8`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.common import arguments

HIDDEN, KEYS, INNER, WORDS, LAYERS = 576, 192, 1536, 49_152, 30
LAYER = [(HIDDEN, HIDDEN), (KEYS, HIDDEN), (KEYS, HIDDEN), (HIDDEN, HIDDEN)]
Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
LAYER += [(INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]


def main() -> None:
    options = arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter))
    repeats = min(options.repeats, 5)
    words = torch.zeros(250_000_000)
    found: dict[str, object] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory, GB/s": round(1.0 / _median(words.sum, repeats), 1),
    }
    del words
    shapes = LAYER * LAYERS + [(WORDS, HIDDEN)]
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        weights = [torch.randn(shape, dtype=dtype) for shape in shapes]
        operations = sum(2.0 * out * inputs for out, inputs in shapes)
        rates = {}
        for rows in (1, 16, 64, 512, 2048):
            x = {inputs: torch.randn(rows, inputs, dtype=dtype) for inputs in (HIDDEN, INNER)}

            def products(x: dict[int, torch.Tensor] = x, weights: list[torch.Tensor] = weights) -> None:
                for weight in weights:
                    functional.linear(x[weight.shape[1]], weight)

            seconds = _median(products, repeats)
            rates[f"{rows} rows, GFLOP/s"] = round(rows * operations / seconds / 1e9, 1)
            if rows == 64:
                rates["a decode step of 64 sequences, s"] = round(seconds, 4)
        found[str(dtype).removeprefix("torch.")] = rates
    eight = [torch.randint(-127, 128, shape, dtype=torch.int8) for shape in shapes]
    scales = [torch.rand(shape[0], dtype=torch.bfloat16) for shape in shapes]
    for name, product in (("int8 weights", torch._weight_int8pack_mm), ("int8", _rounded_product)):
        rates = {}
        for rows in (16, 64):
            x = {inputs: torch.randn(rows, inputs, dtype=torch.bfloat16) for inputs in (HIDDEN, INNER)}

            def quantized(x: dict[int, torch.Tensor] = x, product: Product = product) -> None:
                for weight, scale in zip(eight, scales, strict=True):
                    product(x[weight.shape[1]], weight, scale)

            rates[f"{rows} rows, GFLOP/s"] = round(rows * operations / _median(quantized, repeats) / 1e9, 1)
        found[name] = rates
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _rounded_product(x_MI: torch.Tensor, weight_OI: torch.Tensor, scale_O: torch.Tensor) -> torch.Tensor:
    """Return x Wᵀ as an int8 product: x is rounded with one scale for each row."""
    scale_M1 = x_MI.abs().amax(1, keepdim=True).float() / 127
    eight_MI = (x_MI.float() / scale_M1).round().to(torch.int8)
    return (torch._int_mm(eight_MI, weight_OI.t()) * scale_M1 * scale_O).to(x_MI.dtype)


def _median(call: Callable[[], object], repeats: int) -> float:
    call()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
