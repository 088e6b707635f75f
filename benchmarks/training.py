"""Which share of this machine's matrix products the training phase reaches.

python -m benchmarks.training [--recipe quickstart_grpo] [--new-tokens N] [--quick] [--json FILE]

The limit: the products of the model's linear layers alone, forward and back, with as many rows as a micro-batch has, in
the run's dtype and threads. The share: floating point operations of the products that the phase really makes (attention
and adapters included) over its seconds, over that rate. NSR-PreRL's seconds over GRPO's are next to its tokens over
GRPO's: it should cost what its tokens cost.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import arguments, median_seconds
from prerlkit.policy.frozen_linear import FrozenLinear, input_gradient, product
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Stage
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.train.distributed import World
from prerlkit.train.prepare import prepare
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Verdict


def _added_product(out: torch.Size, left: torch.Size, right: torch.Size, *_: object, **__: object) -> int:
    """Return floating point operations of out += left · right, by shapes."""
    return 2 * left[0] * left[1] * right[1]


def _reordered_product(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    """Return floating point operations of x Wᵀ, by shapes."""
    return 2 * x.numel() * weight[0]


UNCOUNTED = {torch.ops.aten.addmm_: _added_product, torch.ops.mkldnn._linear_pointwise: _reordered_product}
"""Products that torch's counter leaves out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="quickstart_grpo")
    parser.add_argument("--new-tokens", type=int)
    options = arguments(parser)
    changes = [f"rollout.max_new_tokens={options.new_tokens}"] if options.new_tokens else []
    recipe = load(options.recipe, changes).recipe
    prepared = prepare(recipe, None)
    policy = load_policy(prepared.model.path, recipe.model, prepared.tokens, recipe.memory)
    adapter = recipe.stages[0].adapter
    policy.adapters.fresh("rl", adapter, 0)
    engine = HfEngine(policy.base, prepared.tokens.tokenizer, policy.end_ids, 64, plain_head=policy.plain_head)
    prompts = prepared.prompts.train[: recipe.rollout.prompts_per_step]
    sampling = Sampling(recipe.rollout.group_size, recipe.rollout.max_new_tokens, 1.0, seed=0)
    groups: dict[int, list[Completion]] = {p: [] for p in range(len(prompts))}
    for p, _, completion in engine.generate(prompts, sampling):
        groups[p].append(completion)
    verdicts = tuple(Verdict.of(i % 2 == 0) for i in range(sampling.samples))  # half right: all carry gradient
    judged = [Group(prompts[p], tuple(completions), verdicts) for p, completions in groups.items()]
    limit = product_rate(policy, recipe.memory.microbatch_tokens)
    found: dict[str, dict[str, Any]] = {}
    for objective in ("grpo", "nsr-prerl"):
        stage = Stage.model_validate(
            {"name": "rl", "objective": objective, "steps": 1, "learning_rate": 1e-4, "adapter": adapter}
        )
        updater = Updater(policy, stage, recipe.memory, World())
        tokens = updater.gradients(judged).tokens
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
            updater.gradients(judged)
        seconds = median_seconds(partial(updater.gradients, judged), options.repeats)
        operations = counter.get_total_flops()
        found[objective] = {
            "tokens": tokens,
            "seconds": round(seconds, 3),
            "GFLOP": round(operations / 1e9, 1),
            "GFLOP/s": round(operations / seconds / 1e9, 1),
            "share of the limit": round(operations / seconds / limit, 3),
        }
    grpo, prerl = found["grpo"], found["nsr-prerl"]
    figures = {
        "dtype": str(policy.base.dtype),
        "threads": torch.get_num_threads(),
        "limit, GFLOP/s": round(limit / 1e9, 1),
        **found,
        "nsr-prerl over grpo: seconds": round(prerl["seconds"] / grpo["seconds"], 3),
        "nsr-prerl over grpo: tokens": round(prerl["tokens"] / grpo["tokens"], 3),
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def product_rate(policy: Policy, rows: int) -> float:
    """Return floating point operations a second of the base's linear layers alone, forward and back to their inputs."""
    shapes = {tuple(m.weight.shape) for m in policy.base.model.layers[0].modules() if hasattr(m, "in_features")}
    operations = seconds = 0.0
    for outputs, inputs in shapes:
        layer = FrozenLinear(inputs, outputs, bias=False, dtype=policy.base.dtype).requires_grad_(False)
        x, gradient = (torch.randn(rows, n, dtype=policy.base.dtype) for n in (inputs, outputs))
        operations += 4.0 * rows * outputs * inputs
        seconds += median_seconds(partial(product, layer, x), 7)
        seconds += median_seconds(partial(input_gradient, layer, gradient), 7)
    return operations / seconds


if __name__ == "__main__":
    main()
