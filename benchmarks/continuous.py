"""Log-probs of `rollout.engine: transformers` against the trainer's, and its speed against `hf`, on smoke.yaml's model.

    python -m benchmarks.continuous [--tokens N]

In float32 and bfloat16, with one stage's and with two stages' adapters, all away from zero. Both use the same model:
only the kernels differ. `moved` is how far the adapters move the same log-probs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
import transformers

from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.recipe.load import load
from prerlkit.rollout.canary import DRIFT
from prerlkit.rollout.continuous import ContinuousEngine, pages_of
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.train.prepare import prepare
from prerlkit.types import Completion, Prompt

PROMPTS, SAMPLES, AT_ONCE = 8, 4, 32
SIZE = 0.02
"""Standard deviation of what is added to the adapters' factors: of the size of the factors themselves."""

Found = dict[tuple[int, int], Completion]


def sampled(engine: RolloutEngine, prompts: Sequence[Prompt], tokens: int) -> tuple[Found, float]:
    """Completions by prompt and sample, and the tokens per second."""
    begun = time.perf_counter()
    found = {(i, s): c for i, s, c in engine.generate(prompts, Sampling(SAMPLES, tokens, 1.0, seed=1))}
    return found, sum(len(c.token_ids) for c in found.values()) / (time.perf_counter() - begun)


def trainer_logprobs(policy: Policy, prompts: Sequence[Prompt], found: Found) -> torch.Tensor:
    """Log-probs of the sampled tokens by the trainer's forward pass, nats. [N]"""
    places = sorted(found)
    answers = [found[place].token_ids for place in places]
    sequences = Sequences([prompts[i].token_ids for i, _ in places], answers, policy.device)
    with torch.no_grad():
        return policy.logprobs(sequences, temperature=1.0, chunk=256, entropy=False)[0].float()


def add_stage(policy: Policy, number: int) -> None:
    """Put another stage's adapter on top, trained by chance."""
    recipe = load("smoke").recipe
    policy.adapters.fresh(recipe.stages[number].name, recipe.stages[number].adapter, number)
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in policy.adapters.trainable:
            parameter.add_(SIZE * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32, help="of a completion")
    tokens = parser.parse_args().tokens
    print(f"transformers {transformers.__version__}, {PROMPTS} prompts, {SAMPLES} completions of each, {tokens} tokens")
    for dtype in ("float32", "bfloat16"):
        recipe = load("smoke", [f"model.dtype={dtype}", "model.device=cpu"]).recipe
        prepared = prepare(recipe, None)
        prompts = list(prepared.prompts.train[:PROMPTS])
        policy = load_policy(prepared.model.path, recipe.model, prepared.tokens)
        pages = AT_ONCE * pages_of(max(len(p.token_ids) for p in prompts) + tokens)
        steps: list[tuple[str, Callable[[], None]]] = [
            ("one stage's", lambda p=policy: add_stage(p, 0)),  # type: ignore[misc]
            ("two stages'", lambda p=policy: add_stage(p, 1)),  # type: ignore[misc]
        ]
        for name, change in steps:
            change()
            engine = ContinuousEngine(policy.base, policy.tokenizer, policy.end_ids, AT_ONCE, pages)
            found, speed = sampled(engine, prompts, tokens)
            _, plain_speed = sampled(policy.engine(AT_ONCE)[0], prompts, tokens)
            ours_N = trainer_logprobs(policy, prompts, found)
            theirs_N = torch.tensor([x for place in sorted(found) for x in found[place].logprobs])
            with policy.adapters.bare():
                bare_N = trainer_logprobs(policy, prompts, found)
            off_N = (theirs_N - ours_N).abs()
            print(
                f"{dtype:<8} adapters: {name:<11} mean |Δ| {off_N.mean():.2g}, max {off_N.max():.2g} nats per token "
                f"(canary's bound on the mean {DRIFT[dtype]}), moved {(ours_N - bare_N).abs().mean():.2g}, "
                f"{speed:.0f} tokens/s, hf {plain_speed:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
