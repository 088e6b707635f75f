"""Attention on a CPU: grouped products against torch's fused kernel, in bfloat16, for decoding, prefill and training.

    python -m benchmarks.attention [--repeats N] [--json FILE]

A ratio above 1 means that the grouped form is faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.common import arguments, ratios, report
from prerlkit.policy.attention import grouped_attention

HEADS, KEY_HEADS, WIDTH = 9, 3, 64  # SmolLM2-135M
SHAPES = {  # sequences, queries, keys, with gradient
    "decode, 64 sequences, 55 keys": (64, 1, 55, False),
    "decode, 16 sequences, 600 keys": (16, 1, 600, False),
    "prefill, 8 × 45": (8, 45, 45, False),
    "prefill, 8 × 128": (8, 128, 128, False),
    "train, 8 × 45": (8, 45, 45, True),
    "train, 56 × 14 behind 45": (56, 14, 59, True),
    "train, 8 × 128": (8, 128, 128, True),
    "train, 4 × 300": (4, 300, 300, True),
}


def pair(sequences: int, queries: int, keys: int, gradient: bool) -> tuple[Callable[[], None], Callable[[], None]]:
    """The fused kernel's call and ours on the same tensors."""
    torch.manual_seed(0)

    def made(heads: int, length: int) -> Tensor:
        return torch.randn(sequences, heads, length, WIDTH, dtype=torch.bfloat16, requires_grad=gradient)

    query, key, value = made(HEADS, queries), made(KEY_HEADS, keys), made(KEY_HEADS, keys)
    mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries).expand(sequences, 1, queries, keys)
    share = HEADS // KEY_HEADS

    def fused() -> Tensor:
        expanded = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        return scaled_dot_product_attention(query, *expanded, attn_mask=mask)

    def grouped() -> Tensor:
        return grouped_attention(query, key, value, mask, WIDTH**-0.5)

    def run(form: Callable[[], Tensor]) -> Callable[[], None]:
        def once() -> None:
            with torch.set_grad_enabled(gradient):
                out = form()
                if gradient:
                    out.sum().backward()

        return once

    return run(fused), run(grouped)


def main() -> None:
    options = arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter))
    found = {name: ratios(*pair(*shape), options.repeats) for name, shape in SHAPES.items()}
    report("grouped attention against torch's fused kernel", found, {"dtype": "bfloat16"}, options.json)


if __name__ == "__main__":
    main()
