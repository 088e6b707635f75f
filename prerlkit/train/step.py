"""The step: from judged groups to an updated adapter. Nothing that carries no gradient goes through the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from prerlkit.objective.aggregate import Counts, count, select
from prerlkit.objective.choices import Objective
from prerlkit.objective.loss import TokenTerms, objective_loss
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.policy import Policy
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.train.batch import MicroBatch, TrainRow, collate, micro_batches, train_rows
from prerlkit.train.distributed import World
from prerlkit.train.optim import make_optimizer, rate_at
from prerlkit.types import Group


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Sums over the optimizer steps of one rollout batch; see docs/metrics.md for what they become."""

    loss: float = 0.0
    kl: float = 0.0
    clip_fraction: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    """Tokens that went through the model with gradient, contexts included, padding not."""
    logprob_sum: float = 0.0
    """Log-probs, in their objective's space, of the completion tokens that carried gradient; nats."""
    scored: int = 0
    """How many tokens those were."""
    skipped: int = 0
    """Optimizer steps in which nothing carried gradient, or whose gradient was not finite."""

    def __add__(self, other: UpdateStats) -> UpdateStats:
        return UpdateStats(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class _Plan:
    """One objective's train batch for one optimizer step."""

    objective: Objective
    rows: tuple[TrainRow, ...]
    old: dict[int, Tensor]
    """Log-probs of each row's completion before the first update; empty when on-policy."""


class Updater:
    """One stage's optimizer, from its first step to its last.

    Args:
        policy: its trainable adapter is what is updated.
        stage: objectives, steps, rates.
        world: the processes that share the step.
        optimizer: to go on with the moments of the stage before (`keep_optimizer`).
    """

    def __init__(
        self,
        policy: Policy,
        stage: Stage,
        memory: Memory,
        world: World,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self._policy = policy
        self._stage = stage
        self._memory = memory
        self._world = world
        self._parameters = policy.adapters.trainable
        self.optimizer = optimizer or make_optimizer(self._parameters, stage.optimizer, stage.learning_rate)

    def update(self, groups: Sequence[Group], step: int) -> UpdateStats:
        """Do this step's optimizer updates, each on its share of `groups`."""
        rate = rate_at(step, self._stage.steps, self._stage.learning_rate, self._stage.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        updates = self._stage.optimizer.updates_per_rollout
        shares = [groups[i::updates] for i in range(updates)]
        plans = [[self._plan(objective, share) for objective in self._stage.objective] for share in shares]
        if updates > 1:  # only then does the policy move away from the one that sampled
            plans = [[self._with_old(plan) for plan in share] for share in plans]
        stats = UpdateStats()
        for share in plans:
            stats = stats + self._one_update(share)
        return stats

    def gradients(self, groups: Sequence[Group]) -> UpdateStats:
        """Accumulate the on-policy gradient of `groups` without stepping: what the identities are tested on."""
        return self._accumulate([self._plan(objective, groups) for objective in self._stage.objective])

    def _plan(self, objective: Objective, groups: Sequence[Group]) -> _Plan:
        samples = select(groups, objective)
        counts = self._world.sum_counts(count(samples))
        limit = self._stage.rollout.max_new_tokens
        rows = train_rows(samples, objective, counts, self._policy.start.id, limit)
        return _Plan(objective, tuple(rows), {})

    @torch.no_grad()
    def _with_old(self, plan: _Plan) -> _Plan:
        old: dict[int, Tensor] = {}
        for batch in self._batches(plan):
            logprobs_N, _ = self._score(batch, entropy=False)
            for b, index in enumerate(batch.indices):
                old[index] = logprobs_N[batch.sequences.rows_N == b]
        return _Plan(plan.objective, plan.rows, old)

    def _one_update(self, plans: Sequence[_Plan]) -> UpdateStats:
        self.optimizer.zero_grad(set_to_none=True)
        stats = self._accumulate(plans)
        if not self._any_gradient(plans):
            return UpdateStats(skipped=1)
        self._world.sum_gradients(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._stage.optimizer.max_grad_norm).item()
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            return UpdateStats(tokens=stats.tokens, skipped=1)
        self.optimizer.step()
        return stats + UpdateStats(grad_norm=norm)

    def _any_gradient(self, plans: Sequence[_Plan]) -> bool:
        mine = sum(len(plan.rows) for plan in plans)
        return self._world.sum_counts(Counts(0, mine)).sequences > 0

    def _accumulate(self, plans: Sequence[_Plan]) -> UpdateStats:
        """Forward and backward of every micro-batch."""
        stats = UpdateStats()
        self._policy.base.train()  # adapter dropout and gradient checkpointing; the base's own dropouts are 0
        for plan in plans:
            for batch in self._batches(plan):
                stats = stats + self._backward(plan, batch)
        self._policy.base.eval()
        return stats

    def _batches(self, plan: _Plan) -> list[MicroBatch]:
        budget, share = self._memory.microbatch_tokens, self._policy.share_contexts
        packed = micro_batches(plan.rows, budget, share_contexts=share)
        return [collate(plan.rows, indices, self._policy.device) for indices in packed]

    def _backward(self, plan: _Plan, batch: MicroBatch) -> UpdateStats:
        objective = plan.objective
        reference_N = None
        if objective.kl is not None:
            with torch.no_grad(), self._policy.adapters.reference():
                reference_N, _ = self._score(batch, entropy=False)
        logprobs_N, entropy_N = self._score(batch, entropy=objective.entropy != 0.0)
        old_N = torch.cat([plan.old[i] for i in batch.indices]) if plan.old else None
        terms = TokenTerms(
            logprobs_N,
            old_N,
            batch.advantages_N,
            batch.weights_N,
            batch.sequences.rows_N,
            len(batch.indices),
            reference_N,
            entropy_N,
        )
        parts = objective_loss(objective, terms)
        parts.total.backward()
        return UpdateStats(
            loss=parts.total.item(),
            kl=parts.kl,
            clip_fraction=parts.clipped,
            tokens=_tokens(batch.sequences, self._policy.share_contexts),
            logprob_sum=logprobs_N.sum().item(),
            scored=len(logprobs_N),
        )

    def _score(self, batch: MicroBatch, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
        return self._policy.logprobs(
            batch.sequences,
            temperature=self._stage.rollout.temperature,
            chunk=self._memory.logits_chunk,
            entropy=entropy,
        )


def _tokens(sequences: Sequences, share_contexts: bool) -> int:
    """Tokens that went through the model, padding not counted."""
    lengths_P = sequences.mask_PS.sum(-1)
    contexts = lengths_P if share_contexts else lengths_P[sequences.owner_B]
    return int(contexts.sum()) + len(sequences.rows_N)
