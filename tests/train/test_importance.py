"""Truncated importance weights: by hand, off without a trace, and of the prompt's space in pre-train space too."""

from __future__ import annotations

import math

import pytest
import torch

from prerlkit.objective.choices import Objective, Reinforce
from prerlkit.objective.loss import TokenTerms, objective_loss, truncated_importance
from prerlkit.objective.presets import PRESETS
from prerlkit.recipe.schema import Memory, Recipe, Stage
from prerlkit.train.distributed import World
from prerlkit.train.stage import update_policy
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Prompt, Verdict


def test_ratio_and_cap_by_hand():
    trainer_N = torch.tensor([0.5, 0.2, 0.9]).log()
    sampler_N = torch.tensor([0.25, 0.4, 0.1]).log()
    importance_N, ratio_N = truncated_importance(trainer_N, sampler_N, 2.0)
    torch.testing.assert_close(ratio_N, torch.tensor([2.0, 0.5, 9.0]))
    torch.testing.assert_close(importance_N, torch.tensor([2.0, 0.5, 2.0]))


def test_it_multiplies_the_policy_loss_and_not_the_entropy():
    objective = Objective(space="conditional", samples="all", advantage="group_mean", loss=Reinforce(),
                          aggregate="token_mean", entropy=0.5)  # fmt: skip
    logprobs_N = torch.tensor([-1.0, -2.0])
    common = (logprobs_N, None, torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.5]), torch.tensor([0, 1]), 2)
    parts = objective_loss(objective, TokenTerms(*common, None, torch.tensor([1.0, 1.0]), torch.tensor([0.5, 2.0])))
    assert parts.policy == pytest.approx(0.5 * (0.5 * 1.0) + 0.5 * (2.0 * -2.0))
    assert parts.entropy == pytest.approx(1.0)


def stage(objective: str, cap, updates: int = 1) -> Stage:
    return Stage.model_validate(
        {
            "name": "s",
            "objective": objective,
            "steps": 1,
            "learning_rate": 1e-3,
            "rollout": {"importance_cap": cap},
            "optimizer": {"updates_per_rollout": updates},
        }
    )


def groups(policy, shift: float) -> list[Group]:
    """Two groups of two completions whose sampler's log-probs are the policy's own, `shift` nats lower."""
    made = []
    for g in range(2):
        prompt = Prompt(f"p{g}", "", (65 + g, 66, 67))
        completions = []
        for ids in ((70, 71, 256), (72 + g, 256)):
            tokens = torch.tensor([[*prompt.token_ids, *ids]])
            logits = policy.base(input_ids=tokens).logits.log_softmax(-1)[0]
            own = [logits[2 + i, t].item() for i, t in enumerate(ids)]
            completions.append(Completion(ids, "", tuple(x - shift for x in own), truncated=False))
        made.append(Group(prompt, tuple(completions), (Verdict.of(True), Verdict.of(False))))
    return made


def gradient(policy, objective: str, cap, shift: float):
    policy.base.zero_grad(set_to_none=True)
    updater = Updater(policy, stage(objective, cap), Memory(), World())
    with torch.no_grad():
        made = groups(policy, shift)
    stats = updater.gradients(made)
    return torch.cat([p.grad.flatten() for p in policy.adapters.trainable]), stats


@pytest.fixture
def policy(tiny_policy, tiny_recipe):
    tiny_policy.adapters.fresh("s", Recipe.model_validate(tiny_recipe()).adapter, seed=1)
    with torch.no_grad():
        for p in tiny_policy.adapters.trainable:
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return tiny_policy


@pytest.mark.parametrize("objective", ["grpo", "nsr-prerl", "gspo", "rloo"])
def test_a_sampler_that_lies_lower_by_a_constant_scales_the_gradient_up_to_the_cap(policy, objective):
    assert objective in PRESETS
    off, none = gradient(policy, objective, None, shift=math.log(1.5))
    on, stats = gradient(policy, objective, 2.0, shift=math.log(1.5))
    torch.testing.assert_close(on, 1.5 * off, rtol=1e-4, atol=1e-6)
    assert none.weighted == 0
    assert stats.weighted > 0
    assert stats.capped == 0
    assert stats.ratio_sum / stats.weighted == pytest.approx(1.5, rel=1e-4)
    assert stats.mismatch_sum / stats.weighted == pytest.approx(math.log(1.5), rel=1e-4)
    capped, stats = gradient(policy, objective, 2.0, shift=math.log(3.0))
    torch.testing.assert_close(capped, 2.0 * off, rtol=1e-4, atol=1e-6)
    assert stats.capped == stats.weighted


def test_it_is_on_with_a_copy_and_off_without(tiny_recipe):
    def cap(**rollout):
        made = tiny_recipe()
        made["rollout"] = {**made["rollout"], **rollout}
        return Recipe.model_validate(made).stages[1].rollout.importance

    assert cap() is None
    assert cap(engine="vllm") == 2.0
    assert cap(engine="vllm", importance_cap=3.0) == 3.0
    assert cap(engine="vllm", importance_cap=None) is None
    assert cap(importance_cap=3.0) == 3.0


def test_later_updates_of_one_rollout_weigh_by_the_policy_that_began(policy):
    for objective in ("grpo", "nsr-prerl"):
        with torch.no_grad():
            made = groups(policy, math.log(1.5))
        updater = Updater(policy, stage(objective, 2.0, updates=2), Memory(), World())
        stats = update_policy(updater, made, rate=1e-3)
        assert stats.ratio_sum / stats.weighted == pytest.approx(1.5, rel=1e-3)
