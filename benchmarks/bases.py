"""How far the log-probs of an NF4 base are from those of its 16-bit original, on smoke.yaml's own prompts.

python -m benchmarks.bases
"""

from __future__ import annotations

import numpy as np

from prerlkit.policy.policy import load_policy
from prerlkit.recipe.load import load
from prerlkit.rollout.canary import SEQUENCES, TOKENS
from prerlkit.train.prepare import prepare


def scores(quantization: str, dtype: str) -> np.ndarray:
    """Log-probs of the canary's tokens under smoke.yaml's base, nats. [N]"""
    settings = [f"model.quantization={quantization}", f"model.dtype={dtype}", "model.device=cpu"]
    recipe = load("smoke", settings).recipe
    prepared = prepare(recipe, None)
    policy = load_policy(prepared.model.path, recipe.model, prepared.tokens)
    sequences = [p.token_ids[:TOKENS] for p in prepared.prompts.train[:SEQUENCES]]
    return np.array([x for row in policy.score(sequences) for x in row])


def main() -> None:
    exact_N = scores("none", "float32")
    print(f"{len(exact_N)} tokens, mean log-prob {exact_N.mean():.3f} nats")
    for name, quantization, dtype in (("bfloat16", "none", "bfloat16"), ("nf4, bfloat16", "nf4", "bfloat16")):
        off_N = np.abs(scores(quantization, dtype) - exact_N)
        print(f"{name:<14} against float32: mean |Δ| {off_N.mean():.4f}, 95 % {np.quantile(off_N, 0.95):.3f}, "
              f"max {off_N.max():.3f} nats")  # fmt: skip
    both_N = np.abs(scores("nf4", "bfloat16") - scores("none", "bfloat16"))
    print(f"{'nf4':<14} against bfloat16: mean |Δ| {both_N.mean():.4f}, max {both_N.max():.3f} nats")


if __name__ == "__main__":
    main()
