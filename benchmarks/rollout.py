"""Tokens a second of the hf engine against `model.generate`: same prompts, samples, lengths, dtype and adapter state.

    python -m benchmarks.rollout [--shapes SHAPE ...] [--repeats N] [--quick] [--json FILE]

SmolLM2-135M in bfloat16. Every completion has the full length on both sides. A ratio above 1 means that the engine is
faster; the two are timed in turns in one process. Below the ratios stands the engine's share of its limit, the seconds
of the products of all weights with a row for each sequence, once for each new token, and of nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.common import arguments, median_seconds, ratios, report
from prerlkit.policy.frozen_linear import FrozenLinear
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Adapter
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.train.prepare import Prepared, prepare
from prerlkit.types import Prompt


@dataclass(frozen=True)
class Shape:
    """What is sampled."""

    prompts: int
    samples: int
    new_tokens: int
    adapter: bool


SHAPES = {
    "8 × 8 × 48": Shape(8, 8, 48, adapter=False),
    "8 × 8 × 48, adapter": Shape(8, 8, 48, adapter=True),
    "8 × 8 × 16, adapter": Shape(8, 8, 16, adapter=True),
    "64 × 1 × 16, adapter": Shape(64, 1, 16, adapter=True),
    "4 × 16 × 48, adapter": Shape(4, 16, 48, adapter=True),
}


def engine_call(policy: Policy, prompts: list[Prompt], shape: Shape) -> Callable[[], None]:
    """Our rollout; no token ends a completion."""
    engine = HfEngine(policy.base, policy.tokenizer, (), 64, plain_head=policy.plain_head)
    sampling = Sampling(shape.samples, shape.new_tokens, 1.0, seed=0)

    def call() -> None:
        generated = sum(len(completion.token_ids) for _, _, completion in engine.generate(prompts, sampling))
        assert generated == shape.prompts * shape.samples * shape.new_tokens

    return call


def generate_call(model: Any, prompts: list[Prompt], shape: Shape) -> Callable[[], None]:
    """transformers' rollout as trainers call it: the batch left-padded, every prompt repeated for its samples."""
    width = max(len(prompt.token_ids) for prompt in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
        mask[row, width - len(prompt.token_ids) :] = 1

    def call() -> None:
        out = model.generate(
            input_ids=ids.repeat_interleave(shape.samples, 0),
            attention_mask=mask.repeat_interleave(shape.samples, 0),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            min_new_tokens=shape.new_tokens,
            max_new_tokens=shape.new_tokens,
        )
        assert out.shape[1] == width + shape.new_tokens

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE")
    options = arguments(parser)
    recipe = load("quickstart_grpo").recipe
    prepared = prepare(recipe, None)
    found, shares = {}, {}
    for adapter in (False, True):
        ours = _ours(prepared, adapter)
        theirs = _theirs(prepared.model.path, adapter)
        for name, shape in SHAPES.items():
            if shape.adapter is adapter and name in options.shapes:
                prompts = list(prepared.prompts.train[: shape.prompts])
                calls = generate_call(theirs, prompts, shape), engine_call(ours, prompts, shape)
                found[name] = ratios(*calls, min(options.repeats, 5))
                seconds = median_seconds(calls[1], 1)
                limit = shape.new_tokens * products_seconds(ours, shape.prompts * shape.samples)
                tokens = shape.prompts * shape.samples * shape.new_tokens
                shares[name] = {
                    "seconds": round(seconds, 2),
                    "tokens/s": round(tokens / seconds),
                    "seconds of the products alone": round(limit, 2),
                    "share of the limit": round(limit / seconds, 2),
                }
    settings = {
        "model": recipe.model.id,
        "dtype": "bfloat16",
        "adapter": "LoRA r=16, all linear layers",
        "threads": torch.get_num_threads(),
        "limits": shares,
    }
    report("hf engine against generate, prompts × samples × new tokens", found, settings, options.json)
    print(json.dumps(shares, indent=2, ensure_ascii=False))


def products_seconds(policy: Policy, rows: int) -> float:
    """Return seconds of the products of all linear layers' weights with `rows` rows, the head's included."""
    layers = [module for module in policy.base.modules() if isinstance(module, FrozenLinear)]  # no adapter's factors
    inputs = {n: torch.randn(rows, n, dtype=policy.base.dtype) for n in {layer.in_features for layer in layers}}

    def products() -> None:
        for layer in layers:
            layer.product(inputs[layer.in_features])

    return median_seconds(products, 5)


def _ours(prepared: Prepared, adapter: bool) -> Policy:
    model = load("quickstart_grpo").recipe.model
    policy = load_policy(prepared.model.path, model, prepared.tokens)
    if adapter:
        policy.adapters.fresh("rl", Adapter(rank=16, alpha=32), seed=0)
    return policy


def _theirs(path: str, adapter: bool) -> Any:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    if adapter:
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).eval()
    return model


if __name__ == "__main__":
    main()
