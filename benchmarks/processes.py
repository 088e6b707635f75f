"""Bytes that a step moves between processes, on paper: `python -m benchmarks.processes`. Nothing is loaded or sent.

Counts come from the model's shapes; the size of told rollouts from pickling one of that many tokens, as `World.gather`
does. Link speeds are the usual data-sheet figures in one direction, of which some 80 % arrive.
"""

from __future__ import annotations

import argparse
import pickle
import random

from prerlkit.types import Completion, Group, Prompt, Verdict

QWEN3_4B = {"layers": 36, "width": 2560, "mlp": 9728, "heads": 32, "kv_heads": 8, "head": 128, "vocabulary": 151_936}
LINKS = {"NVLink 4": 450e9, "PCIe 4 x16": 32e9, "100 Gbit/s": 12.5e9, "10 Gbit/s": 1.25e9}
"""Bytes a second, in one direction."""


def linear_shapes(model: dict[str, int]) -> list[tuple[int, int]]:
    """(in, out) of the linear layers of one decoder layer."""
    width, mlp = model["width"], model["mlp"]
    queries, keys = model["heads"] * model["head"], model["kv_heads"] * model["head"]
    return [(width, queries), (width, keys), (width, keys), (queries, width), (width, mlp), (width, mlp), (mlp, width)]


def rollout_bytes(prompts: int, samples: int, tokens: int) -> int:
    """What all processes together tell each other of a step's rollouts."""
    draw = random.Random(0)
    ids = tuple(draw.randrange(150_000) for _ in range(tokens))
    completion = Completion(ids, "word" * tokens, tuple(-draw.random() for _ in range(tokens)), False)
    prompt = Prompt("train/1", "word" * 150, ids[:150], "42", {"question": "word" * 150})
    one = len(pickle.dumps(Group(prompt, (completion,), (Verdict.of(True),))))
    return prompts * samples * one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rank", 32), ("stages", 2), ("prompts", 128), ("samples", 8), ("tokens", 1024)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    shapes, layers = linear_shapes(QWEN3_4B), QWEN3_4B["layers"]
    adapter = layers * args.rank * sum(a + b for a, b in shapes)
    layer_weights = 2 * layers * sum(a * b for a, b in shapes)  # bfloat16
    whole = 2 * QWEN3_4B["vocabulary"] * QWEN3_4B["width"]
    gradient, told = 4 * adapter, rollout_bytes(args.prompts, args.samples, args.tokens)
    served = 2 * adapter * args.stages
    print(f"Qwen3-4B, LoRA r={args.rank}: {adapter:,} trainable; gradient {gradient / 1e6:.0f} MB in float32")
    print(f"rollouts told: {told / 1e6:.0f} MB for {args.prompts} × {args.samples} × {args.tokens} tokens")
    print(f"weight sync to a server: {served / 1e6:.0f} MB, {args.stages} stages as one adapter in bfloat16")
    print(
        f"layers {layer_weights / 1e9:.2f} GB, embeddings (whole everywhere) {whole / 1e9:.2f} GB, both in bfloat16\n"
    )
    print("bytes into each process     gradient   rollouts   one pass, base shared out   weights held, base shared out")
    for size in (1, 2, 4, 8, 16, 64):
        others = (size - 1) / size
        columns = (2 * gradient * others / 1e6, told * others / 1e6, layer_weights * others / 1e9)
        held = (layer_weights / size + whole) / 1e9
        print(
            f"{size:>3} processes              {columns[0]:>6.0f} MB  {columns[1]:>6.0f} MB  {columns[2]:>18.2f} GB"
            f"  {held:>24.2f} GB"
        )
    print("\nat 8 processes, by the slowest link (80 % of its data sheet):")
    for name, speed in LINKS.items():
        seconds = [x * 7 / 8 / (0.8 * speed) for x in (2 * gradient, told, layer_weights)]
        decode = args.tokens * seconds[2]
        print(
            f"{name:>12}  gradient {seconds[0]:.3f} s  rollouts {seconds[1]:.3f} s  one pass {seconds[2]:.3f} s, "
            f"{args.tokens} tokens decoded {decode:,.0f} s"
        )


if __name__ == "__main__":
    main()
