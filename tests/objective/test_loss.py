"""Losses, KL and the clip's edges against hand-computed numbers."""

import math

import pytest
import torch

from prerlkit.objective.choices import Cispo, Clip, Gspo, Kl, Objective, Reinforce
from prerlkit.objective.loss import TokenTerms, kl_losses, objective_loss, token_losses
from prerlkit.objective.presets import PRESETS


def terms(ratios, advantages, sequence=None, **more) -> TokenTerms:
    """Tokens whose ratio to the old policy is `ratios`; the old log-probs are −1."""
    old = torch.full((len(ratios),), -1.0, dtype=torch.float64)
    logprobs = (old + torch.tensor(ratios, dtype=torch.float64).log()).requires_grad_()
    sequence = sequence or [0] * len(ratios)
    weights = torch.full((len(ratios),), 1.0, dtype=torch.float64)
    return TokenTerms(
        logprobs,
        old,
        torch.tensor(advantages, dtype=torch.float64),
        weights,
        torch.tensor(sequence),
        max(sequence) + 1,
        **more,
    )


def test_clip_bounds_the_gain_but_not_the_harm():
    clip = Clip(low=0.2, high=0.28, dual=10.0)
    t = terms([1.5, 1.5, 0.5, 0.5, 1.0], [1.0, -1.0, 1.0, -1.0, 2.0])
    losses, acted = token_losses(clip, t)
    # A>0: −min(ρ, 1.28); A<0: max(ρ, 0.8)
    assert losses.tolist() == pytest.approx([-1.28, 1.5, -0.5, 0.8, -2.0])
    assert acted.tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_dual_clip_caps_negative_advantages_only():
    losses, acted = token_losses(Clip(dual=3.0), terms([5.0, 5.0], [-1.0, 1.0]))
    assert losses.tolist() == pytest.approx([3.0, -1.2])
    assert acted.tolist() == [1.0, 1.0]
    losses, _ = token_losses(Clip(dual=None), terms([5.0], [-1.0]))
    assert losses.tolist() == pytest.approx([5.0])


def test_log_ratio_is_clamped_at_20():
    t = terms([1.0], [-1.0])
    far = TokenTerms(t.logprobs_N + 100, t.old_N, t.advantages_N, t.weights_N, t.sequence_N, 1)
    losses, _ = token_losses(Clip(dual=None), far)
    assert losses.item() == pytest.approx(math.exp(20.0))


def test_on_policy_needs_no_old_logprobs():
    t = terms([1.0, 1.0], [1.0, -1.0])
    t = TokenTerms(t.logprobs_N, None, t.advantages_N, t.weights_N, t.sequence_N, 1)
    losses, acted = token_losses(Clip(), t)
    assert losses.tolist() == [-1.0, 1.0]
    assert acted.tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert t.logprobs_N.grad.tolist() == [-1.0, 1.0]


def test_reinforce_is_minus_advantage_times_logprob():
    losses, _ = token_losses(Reinforce(), terms([2.0], [0.5]))
    assert losses.item() == pytest.approx(-0.5 * (-1.0 + math.log(2.0)))


def test_gspo_uses_the_geometric_mean_of_each_sequence():
    t = terms([2.0, 0.5, 1.1, 1.1], [1.0, 1.0, 1.0, 1.0], sequence=[0, 0, 1, 1])
    losses, acted = token_losses(Gspo(low=0.05, high=0.05), t)
    # sequence 0: sqrt(2·0.5) = 1, unclipped; sequence 1: 1.1 is over 1.05
    assert losses.tolist() == pytest.approx([-1.0, -1.0, -1.05, -1.05])
    assert acted.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_cispo_keeps_the_gradient_of_a_clipped_token():
    t = terms([8.0, 2.0], [1.0, -1.0])
    losses, acted = token_losses(Cispo(max=5.0), t)
    losses.sum().backward()
    assert t.logprobs_N.grad.tolist() == pytest.approx([-5.0, 2.0])
    assert acted.tolist() == [1.0, 0.0]


def test_kl_estimators():
    logprobs, reference = torch.tensor([-1.0]), torch.tensor([-1.5])
    values = {e: kl_losses(Kl(coefficient=1.0, estimator=e), logprobs, reference).item() for e in ("k1", "k2", "k3")}
    assert values == pytest.approx({"k1": 0.5, "k2": 0.125, "k3": math.exp(-0.5) - 1 + 0.5})


def test_terms_add_up_with_their_coefficients():
    choices = {**PRESETS["grpo"], "kl": {"coefficient": 0.1, "estimator": "k1"}, "entropy": 0.5, "coefficient": 2.0}
    t = terms(
        [1.0, 1.0],
        [1.0, -3.0],
        reference_N=torch.tensor([-2.0, -2.0], dtype=torch.float64),
        entropy_N=torch.tensor([0.3, 0.1], dtype=torch.float64),
    )
    parts = objective_loss(Objective.model_validate(choices), t)
    # policy −1 + 3 = 2; KL 1 + 1 = 2; entropy 0.4
    assert parts.total.item() == pytest.approx(2.0 * (2.0 + 0.1 * 2.0 - 0.5 * 0.4))
    assert (parts.policy, parts.kl, parts.entropy) == pytest.approx((2.0, 2.0, 0.4))


def test_kl_without_reference_is_a_programming_error():
    with pytest.raises(ValueError, match="reference"):
        objective_loss(Objective.model_validate({**PRESETS["grpo"], "kl": {"coefficient": 0.1}}), terms([1.0], [1.0]))
