"""The limits that other figures are compared with: this machine's matrix products and memory bandwidth.

    python -m benchmarks.machine [--repeats N] [--quick] [--json FILE]

Products have the shapes of SmolLM2-135M's linear layers and head. All 30 layers follow each other: a weight is not in a
cache when it is used. `reordered`: weights in oneDNN's own layout, as the base's are in a run. GB/s: a sum over 1 GB.
Seconds of a decode step: 64 sequences through all weights, at the rate of 64 rows. No program that makes these products
can be faster. int8: weights with a scale for each output, either with inputs in bfloat16 (`int8 weights`), or with
inputs that are rounded to int8 row by row (`int8`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch.nn import functional

from benchmarks.common import arguments, median_seconds
from prerlkit import onednn

HIDDEN, KEYS, INNER, WORDS, LAYERS = 576, 192, 1536, 49_152, 30
LAYER = [(HIDDEN, HIDDEN), (KEYS, HIDDEN), (KEYS, HIDDEN), (HIDDEN, HIDDEN)]
LAYER += [(INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]
SHAPES = LAYER * LAYERS + [(WORDS, HIDDEN)]
OPERATIONS = sum(2.0 * outputs * inputs for outputs, inputs in SHAPES)
"""Floating point operations of all products for one row."""
Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def main() -> None:
    options = arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter))
    repeats = min(options.repeats, 5)
    numbers = torch.zeros(250_000_000)
    found: dict[str, object] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory, GB/s": round(1.0 / median_seconds(numbers.sum, repeats), 1),
    }
    del numbers
    for name, dtype, products in _floating():
        rates = {rows: _rate(products, rows, dtype, repeats) for rows in (1, 16, 64, 512, 2048)}
        found[name] = {**_named(rates), "a decode step of 64 sequences, s": round(64 * OPERATIONS / rates[64], 4)}
    for name, product in (("int8 weights", torch._weight_int8pack_mm), ("int8", _rounded_product)):
        eight = [torch.randint(-127, 128, shape, dtype=torch.int8) for shape in SHAPES]
        scales = [torch.rand(shape[0], dtype=torch.bfloat16) for shape in SHAPES]
        products = [partial(_in_order, product, w, scale) for w, scale in zip(eight, scales, strict=True)]
        found[name] = _named({rows: _rate(products, rows, torch.bfloat16, repeats) for rows in (16, 64)})
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _floating() -> Iterator[tuple[str, torch.dtype, list[Callable[[torch.Tensor], object]]]]:
    """Yield the name, the inputs' dtype and the products of each way to multiply in a floating type."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        weights = [torch.randn(shape, dtype=dtype) for shape in SHAPES]
        name = str(dtype).removeprefix("torch.")
        yield name, dtype, [partial(functional.linear, weight=weight) for weight in weights]
        if dtype in onednn.DTYPES:
            copies = map(onednn.reordered, weights)
            yield f"{name}, reordered", dtype, [partial(onednn.linear, reordered_OI=copy) for copy in copies]


def _rate(products: Sequence[Callable[[torch.Tensor], object]], rows: int, dtype: torch.dtype, repeats: int) -> float:
    """Return operations per second of all layers' products with that many rows."""
    x = {inputs: torch.randn(rows, inputs, dtype=dtype) for inputs in (HIDDEN, INNER)}

    def all_layers() -> None:
        for product, (_, inputs) in zip(products, SHAPES, strict=True):
            product(x[inputs])

    return rows * OPERATIONS / median_seconds(all_layers, repeats)


def _named(rates: Mapping[int, float]) -> dict[str, float]:
    return {f"{rows} rows, GFLOP/s": round(rate / 1e9, 1) for rows, rate in rates.items()}


def _in_order(product: Product, weight_OI: torch.Tensor, scale_O: torch.Tensor, x_MI: torch.Tensor) -> torch.Tensor:
    return product(x_MI, weight_OI, scale_O)


def _rounded_product(x_MI: torch.Tensor, weight_OI: torch.Tensor, scale_O: torch.Tensor) -> torch.Tensor:
    """Return x Wᵀ as an int8 product: x is rounded with one scale for each row."""
    scale_M1 = x_MI.abs().amax(1, keepdim=True).float() / 127
    eight_MI = (x_MI.float() / scale_M1).round().to(torch.int8)
    return (torch._int_mm(eight_MI, weight_OI.t()) * scale_M1 * scale_O).to(x_MI.dtype)


if __name__ == "__main__":
    main()
