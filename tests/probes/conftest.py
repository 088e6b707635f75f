"""A step as probes see it: a tiny policy with adapters that have moved, and judged groups made by hand."""

from __future__ import annotations

import pytest
import torch

from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Stage
from prerlkit.types import Completion, Group, Prompt, Verdict


@pytest.fixture
def stage():
    """A GRPO stage, sampled at temperature 0.7."""
    rollout = {"temperature": 0.7, "max_new_tokens": 8, "group_size": 3}
    return Stage.model_validate(
        {"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-2, "rollout": rollout}
    )


@pytest.fixture
def make_group():
    """`make_group("01?", seed=…)`: a completion for each sign, 1 passed, 0 failed, ? unjudged, of different lengths."""

    def make(signs: str, seed: int = 0, texts: tuple[str, ...] = (), answers: tuple[str | None, ...] = ()) -> Group:
        draw = torch.Generator().manual_seed(seed)
        ids = [tuple(torch.randint(0, 256, (n,), generator=draw).tolist()) for n in (5, *range(2, 2 + len(signs)))]
        texts = texts or tuple(f"text {i}" for i in range(len(signs)))
        answers = answers or (None,) * len(signs)
        completions = [
            Completion(own, text, (-1.0,) * len(own), False) for own, text in zip(ids[1:], texts, strict=True)
        ]
        verdicts = [
            Verdict.unjudged("?")
            if sign == "?"
            else Verdict.of(sign == "1", **({} if answer is None else {"answer": answer}))
            for sign, answer in zip(signs, answers, strict=True)
        ]
        return Group(Prompt(f"train/{seed}", "p", ids[0]), tuple(completions), tuple(verdicts))

    return make


@pytest.fixture
def move():
    """Give the trainable adapter a B that isn't 0, as after some steps."""

    def do(policy, seed: int = 1, size: float = 0.05) -> None:
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in policy.adapters.trainable:
                parameter.add_(size * torch.randn(parameter.shape, generator=draw))

    return do


@pytest.fixture
def policy(tiny_policy, move):
    """The tiny policy with one adapter that has moved, with dropout that a probe must not apply."""
    tiny_policy.adapters.fresh("rl", Adapter(rank=3, alpha=6, dropout=0.5), seed=0)
    move(tiny_policy)
    tiny_policy.base.eval()
    return tiny_policy


@pytest.fixture
def seen(stage):
    """`seen(policy, groups)`, with small passes so that gradients add up over several."""
    from prerlkit.probes.protocol import ProbeInput

    def make(policy, groups, past=(), pass_tokens: int = 24) -> ProbeInput:
        return ProbeInput(policy, stage, tuple(groups), past, pass_tokens, 7)

    return make
