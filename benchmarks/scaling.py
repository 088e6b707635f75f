"""How a step's time grows with completion length, group size and number of prompts.

    python -m benchmarks.scaling [--repeats N] [--quick] [--json FILE]

SmolLM2-135M in bfloat16 with a LoRA adapter; rollout plus GRPO's training phase, half of the samples right. A ratio is
this shape's time / the smallest shape's; and how much more there was to generate.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

from benchmarks.common import arguments, ratios, report
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.train.distributed import World
from prerlkit.train.prepare import Prepared, prepare
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Verdict

SMALLEST = (4, 4, 16)
SHAPES = [(4, 4, 32), (4, 4, 64), (4, 8, 16), (4, 16, 16), (8, 4, 16), (16, 4, 16)]
"""prompts, samples, new tokens: one of them grows at a time."""


def step(policy: Policy, prepared: Prepared, shape: tuple[int, int, int]) -> Callable[[], None]:
    """A call that does one step's rollout and gradient."""
    count, samples, new_tokens = shape
    prompts = list(itertools.islice(itertools.cycle(prepared.prompts.train), count))
    engine = HfEngine(policy.base, prepared.tokens.tokenizer, (), 64, plain_head=policy.plain_head)
    fields = {"name": "s", "objective": "grpo", "steps": 1, "learning_rate": 1e-4, "adapter": {"rank": 16}}
    updater = Updater(policy, Stage.model_validate(fields), Memory(microbatch_tokens=1024), World())

    def call() -> None:
        groups: dict[int, list[Completion]] = {p: [] for p in range(count)}
        for p, _, completion in engine.generate(prompts, Sampling(samples, new_tokens, 1.0, seed=0)):
            groups[p].append(completion)
        verdicts = tuple(Verdict.of(i % 2 == 0) for i in range(samples))
        updater.gradients([Group(prompts[p], tuple(found), verdicts) for p, found in groups.items()])

    return call


def main() -> None:
    options = arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter))
    recipe = load("quickstart_grpo").recipe
    prepared = prepare(recipe, None)
    policy = load_policy(prepared.model.path, recipe.model, prepared.tokens)
    policy.adapters.fresh("rl", recipe.stages[0].adapter, 0)
    smallest = step(policy, prepared, SMALLEST)
    least = SMALLEST[0] * SMALLEST[1] * SMALLEST[2]
    found = {}
    for shape in SHAPES:
        more = shape[0] * shape[1] * shape[2] / least
        name = f"{' × '.join(map(str, shape))}: {more:g} times the tokens"
        found[name] = ratios(step(policy, prepared, shape), smallest, min(options.repeats, 3))
    settings = {"smallest": " × ".join(map(str, SMALLEST)), "axes": "prompts × samples × new tokens"}
    report("seconds of a step / seconds of the smallest", found, settings, options.json)


if __name__ == "__main__":
    main()
