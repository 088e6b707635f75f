"""Losses: from log-probs and advantages to one loss per token. Everything here is [N], tokens of several sequences.

The objective is the sum of the losses multiplied by `weights_N` (see `aggregate`). These weights already hold the
denominator of the whole step, so the losses of micro-batches and processes add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prerlkit.objective.choices import Cispo, Clip, FileLoss, Gspo, Kl, Loss, Objective, Reinforce
from prerlkit.objective.plugins import file_losses

MAX_LOG_RATIO = 20.0
"""The log-ratio is clamped to ±20 before exp (the reference code)."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """Log-probs, advantages and weights of the N tokens of a micro-batch that carry gradient.

    Attributes:
        logprobs_N: log π(y_t | context, y_<t) of the current policy, nats, with gradient.
        old_N: the same under the policy that sampled; None when on-policy (one update per rollout): ratio 1.
        advantages_N: advantage of the token's sequence.
        weights_N: the token's share of the aggregate (1/denominator).
        sequence_N: index of the token's sequence within the micro-batch, 0 … sequences−1.
        sequences: number of sequences in the micro-batch.
        reference_N: log-probs under the reference policy, when the objective has KL.
        entropy_N: entropy of the next-token distribution, nats, with gradient, when the objective has an entropy bonus.
        importance_N: factor of each token's policy loss, where another engine sampled; no gradient.
    """

    logprobs_N: Tensor
    old_N: Tensor | None
    advantages_N: Tensor
    weights_N: Tensor
    sequence_N: Tensor
    sequences: int
    reference_N: Tensor | None = None
    entropy_N: Tensor | None = None
    importance_N: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossParts:
    """Sums over a micro-batch, on its device. `total` carries the gradient; the others are for the record, add up over
    the step and have none: a host that read each of them would wait for the device as often."""

    total: Tensor
    policy: Tensor
    kl: Tensor
    entropy: Tensor
    clipped: Tensor
    """Weight of tokens whose gradient the clip removed or capped, as a share of the aggregate."""


def objective_loss(objective: Objective, terms: TokenTerms) -> LossParts:
    """Return coefficient · (Σ w·loss + β·Σ w·KL − entropy·Σ w·H) over a micro-batch."""
    losses_N, clipped_N = token_losses(objective.loss, terms)
    if terms.importance_N is not None:
        losses_N = terms.importance_N * losses_N
    policy = (terms.weights_N * losses_N).sum()
    total = policy
    kl = entropy = torch.zeros_like(policy)
    if objective.kl is not None:
        if terms.reference_N is None:
            raise ValueError("an objective with KL needs reference log-probs")
        kl = (terms.weights_N * kl_losses(objective.kl, terms.logprobs_N, terms.reference_N)).sum()
        total = total + objective.kl.coefficient * kl
    if objective.entropy:
        if terms.entropy_N is None:
            raise ValueError("an objective with an entropy bonus needs entropies")
        entropy = (terms.weights_N * terms.entropy_N).sum()
        total = total - objective.entropy * entropy
    clipped = (terms.weights_N * clipped_N).sum()
    return LossParts(objective.coefficient * total, policy.detach(), kl.detach(), entropy.detach(), clipped.detach())


def token_losses(loss: Loss, terms: TokenTerms) -> tuple[Tensor, Tensor]:
    """Return the loss of each token [N], and 1.0 where a bound acted [N]."""
    logprobs_N = terms.logprobs_N
    # On-policy the old log-probs are the current ones: same value, no gradient, no second pass.
    old_N = logprobs_N.detach() if terms.old_N is None else terms.old_N
    log_ratio_N = (logprobs_N - old_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    match loss:
        case Clip():
            return _clip(loss, log_ratio_N.exp(), terms.advantages_N)
        case Reinforce():
            return -terms.advantages_N * logprobs_N, torch.zeros_like(logprobs_N)
        case Gspo():
            ratio_N = _sequence_mean(log_ratio_N, terms).clamp(max=10.0).exp()
            bounds = Clip(low=loss.low, high=loss.high, dual=None)
            return _clip(bounds, ratio_N, terms.advantages_N)
        case Cispo():
            ratio_N = log_ratio_N.exp().detach()
            return -ratio_N.clamp(max=loss.max) * terms.advantages_N * logprobs_N, (ratio_N > loss.max).float()
        case FileLoss():
            return file_losses(loss, terms)


def truncated_importance(trainer_N: Tensor, sampler_N: Tensor, cap: float) -> tuple[Tensor, Tensor]:
    """Return min(π/μ, cap) of each token, and π/μ itself. [N], [N]

    Samples come from the engine's μ, the gradient is of the trainer's π. Truncation bounds the variance at the price of
    a bias where the two differ much (Yao et al., "Your efficient RL framework secretly brings you off-policy RL
    training", 2025; the bound is of Ionides, 2008). Both are log-probs given the prompt in
    each space, because the token was sampled with the prompt.
    """
    ratio_N = (trainer_N - sampler_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return ratio_N.clamp(max=cap), ratio_N


def _clip(loss: Clip, ratio_N: Tensor, advantages_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return max(−A·ρ, −A·clip(ρ)); where A < 0 at most dual·|A|."""
    plain_N = -advantages_N * ratio_N
    bounded_N = -advantages_N * ratio_N.clamp(1.0 - loss.low, 1.0 + loss.high)
    losses_N = torch.maximum(plain_N, bounded_N)
    acted_N = bounded_N > plain_N
    if loss.dual is not None:
        ceiling_N = -advantages_N * loss.dual
        negative_N = advantages_N < 0
        acted_N = acted_N | (negative_N & (losses_N > ceiling_N))
        losses_N = torch.where(negative_N, torch.minimum(losses_N, ceiling_N), losses_N)
    return losses_N, acted_N.float()


def _sequence_mean(values_N: Tensor, terms: TokenTerms) -> Tensor:
    """Return, for each token, the mean of its sequence's values. [N]"""
    sums_B = values_N.new_zeros(terms.sequences).index_add(0, terms.sequence_N, values_N)
    counts_B = values_N.new_zeros(terms.sequences).index_add(0, terms.sequence_N, torch.ones_like(values_N))
    return (sums_B / counts_B.clamp(min=1.0))[terms.sequence_N]


def kl_losses(kl: Kl, logprobs_N: Tensor, reference_N: Tensor) -> Tensor:
    """Return the chosen estimator of KL(π‖π_ref) at each token, nats. [N]"""
    log_ratio_N = (logprobs_N - reference_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    match kl.estimator:
        case "k1":
            return log_ratio_N
        case "k2":
            return 0.5 * log_ratio_N.square()
        case "k3":
            return torch.exp(-log_ratio_N) - 1.0 + log_ratio_N
