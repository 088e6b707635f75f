"""Where the time of a rollout and of a train step goes, operator by operator.

    python -m benchmarks.profile [--phase rollout|train] [--new-tokens N] [--rows N]

SmolLM2-135M in bfloat16 with a LoRA adapter, 8 prompts × 8 samples. The profiler itself costs time: read shares, not
seconds.
"""

from __future__ import annotations

import argparse

from torch.profiler import ProfilerActivity, profile

from prerlkit.policy.policy import load_policy
from prerlkit.recipe.load import load
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.train.distributed import World
from prerlkit.train.prepare import prepare
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--phase", choices=["rollout", "train"], default="rollout")
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rows", type=int, default=20, help="operators to show")
    options = parser.parse_args()
    recipe = load("quickstart_grpo", [f"rollout.max_new_tokens={options.new_tokens}"]).recipe
    prepared = prepare(recipe, None)
    policy = load_policy(prepared.model.path, recipe.model, prepared.tokens)
    policy.adapters.fresh("rl", recipe.stages[0].adapter, 0)
    engine = HfEngine(policy.base, prepared.tokens.tokenizer, (), 64, plain_head=policy.plain_head)
    prompts = prepared.prompts.train[:8]
    updater = Updater(policy, recipe.stages[0], recipe.memory, World())

    def rollout() -> list[Group]:
        groups: dict[int, list[Completion]] = {p: [] for p in range(len(prompts))}
        for p, _, completion in engine.generate(prompts, Sampling(8, options.new_tokens, 1.0, seed=0)):
            groups[p].append(completion)
        verdicts = tuple(Verdict.of(i % 2 == 0) for i in range(8))  # half of them right: everything carries gradient
        return [Group(prompts[p], tuple(completions), verdicts) for p, completions in groups.items()]

    groups = rollout()
    updater.gradients(groups)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        if options.phase == "rollout":
            rollout()
        else:
            updater.gradients(groups)
    print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=options.rows))


if __name__ == "__main__":
    main()
