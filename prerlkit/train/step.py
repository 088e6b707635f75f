"""The step: from judged groups to an updated adapter. Nothing that carries no gradient goes through the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from prerlkit.errors import PrerlkitError
from prerlkit.objective.aggregate import count, select
from prerlkit.objective.choices import Objective
from prerlkit.objective.loss import TokenTerms, objective_loss, truncated_importance
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.microbatch import micro_batches
from prerlkit.policy.policy import Policy
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.train.batch import MicroBatch, TrainRow, collate, share_rows, train_rows
from prerlkit.train.distributed import World
from prerlkit.train.oom import TokenBudget, out_of_memory
from prerlkit.train.optim import make_optimizer, rate_at
from prerlkit.types import Group

T = TypeVar("T")


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
    nonfinite: int = 0
    """The latter alone."""
    ratio_sum: float = 0.0
    """π/μ of the tokens with importance weights, not truncated."""
    mismatch_sum: float = 0.0
    """|log π − log μ| of the same, nats."""
    capped: int = 0
    """How many of them the cap truncated."""
    weighted: int = 0
    """How many those were; 0 where the engine is the policy itself."""

    def __add__(self, other: UpdateStats) -> UpdateStats:
        return UpdateStats(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """One objective's train batch for one optimizer step."""

    objective: Objective
    rows: tuple[TrainRow, ...]
    """Those that this process trains on."""
    global_rows: int
    """Rows of all processes."""
    old: dict[int, Tensor]
    """Log-probs of each row's completion before the first update; empty when on-policy."""
    behind_prompt: dict[int, Tensor]
    """The same behind the prompt, where importance weights need them and the objective's space is another."""


class Updater:
    """One stage's optimizer, from its first step to its last.

    Args:
        policy: its trainable adapter is what is updated.
        stage: objectives, steps, rates.
        world: the processes that share the step.
        optimizer: to go on with the moments of the stage before (`keep_optimizer`).
        note: hears when micro-batches had to become smaller.
    """

    def __init__(
        self,
        policy: Policy,
        stage: Stage,
        memory: Memory,
        world: World,
        optimizer: torch.optim.Optimizer | None = None,
        on_message: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._policy = policy
        self._stage = stage
        self._memory = memory
        self._budget = TokenBudget(memory.microbatch_tokens)
        self._on_message = on_message
        self._world = world
        self._parameters = policy.adapters.trainable
        self._cap = stage.rollout.importance
        self.optimizer = optimizer or make_optimizer(self._parameters, stage.optimizer, stage.learning_rate)

    def update(self, groups: Sequence[Group], step: int) -> UpdateStats:
        """Do this step's optimizer updates, each on its share of `groups`: those of all processes, in each of them."""
        rate = rate_at(step, self._stage.steps, self._stage.learning_rate, self._stage.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        updates = self._stage.optimizer.updates_per_rollout
        shares = [groups[i::updates] for i in range(updates)]
        plans = [[self._plan(objective, share) for objective in self._stage.objective] for share in shares]
        if updates > 1:  # only then does the policy move away from the one that sampled
            plans = [[replace(plan, old=self._scored(plan)) for plan in share] for share in plans]
        stats = UpdateStats()
        for share in plans:
            stats = stats + self._one_update(share)
        return stats

    def gradients(self, groups: Sequence[Group]) -> UpdateStats:
        """Accumulate this process's part of the on-policy gradient of `groups` without stepping: for the identities."""
        return self._accumulate([self._plan(objective, groups) for objective in self._stage.objective])

    def _plan(self, objective: Objective, groups: Sequence[Group]) -> TrainBatch:
        samples = select(groups, objective)
        limit = self._stage.rollout.max_new_tokens
        rows = train_rows(samples, objective, count(samples), self._policy.start.id, limit)
        local_rows = tuple(share_rows(rows, self._world.rank, self._world.size))
        plan = TrainBatch(objective, local_rows, len(rows), {}, {})
        if self._cap is None or objective.space == "conditional":
            return plan
        behind_prompt = replace(plan, rows=tuple(replace(row, context=row.prompt) for row in local_rows))
        return replace(plan, behind_prompt=self._scored(behind_prompt))

    def _scored(self, plan: TrainBatch) -> dict[int, Tensor]:
        """Log-probs of each row's completion under the policy as it is now."""
        return self._within_memory([plan], lambda: self._scores(plan))

    @torch.no_grad()
    def _scores(self, plan: TrainBatch) -> dict[int, Tensor]:
        old: dict[int, Tensor] = {}
        for batch in self._batches(plan):
            logprobs_N, _ = self._score(batch, entropy=False)
            lengths = [len(plan.rows[index].completion) for index in batch.indices]
            old.update(zip(batch.indices, logprobs_N.split(lengths), strict=True))
        self._policy.rejoin()
        return old

    def _one_update(self, plans: Sequence[TrainBatch]) -> UpdateStats:
        self.optimizer.zero_grad(set_to_none=True)
        # Told before gradients travel: a process that failed here is missed at once, not by a time-out on the devices.
        stats = sum(self._world.gather(self._accumulate(plans)), UpdateStats())
        if not any(plan.global_rows for plan in plans):
            return UpdateStats(skipped=1)
        self._world.sum_gradients(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._stage.optimizer.max_grad_norm).item()
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            return UpdateStats(tokens=stats.tokens, skipped=1, nonfinite=1)
        self.optimizer.step()
        return stats + UpdateStats(grad_norm=norm)

    def _accumulate(self, plans: Sequence[TrainBatch]) -> UpdateStats:
        """Forward and backward of every micro-batch."""
        return self._within_memory(plans, lambda: self._forward_backward(plans))

    def _within_memory(self, plans: Sequence[TrainBatch], work: Callable[[], T]) -> T:
        """Do `work`, with smaller micro-batches where memory asks for it.

        Raises PrerlkitError when even one row alone does not fit.
        """
        longest = max((len(row.context) + len(row.completion) for plan in plans for row in plan.rows), default=0)
        # With a shared-out base the others' passes would no longer meet ours.
        least = self._budget.tokens if self._memory.shard_base else longest
        try:
            return self._budget.run_within(work, least, self._halved)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise self._no_room(longest) from error

    def _halved(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None  # part of a micro-batch may have been added
        tokens = self._budget.tokens
        self._on_message(f"out of memory: micro-batches of {tokens} tokens from now on (memory.microbatch_tokens)")

    def _no_room(self, longest: int) -> PrerlkitError:
        if self._memory.shard_base:
            return PrerlkitError(
                "A training step does not fit in memory.",
                f"Set memory.microbatch_tokens below {self._budget.tokens}; with shard_base this is not automatic.",
            )
        return PrerlkitError(
            f"One sequence of {longest} tokens does not fit in memory for a training step.",
            "Set memory.gradient_checkpointing: true, a smaller memory.logits_chunk or "
            "rollout.max_new_tokens, or model.quantization: nf4.",
        )

    def _forward_backward(self, plans: Sequence[TrainBatch]) -> UpdateStats:
        stats = UpdateStats()
        self._policy.base.train()  # adapter dropout and gradient checkpointing; the base's own dropouts are 0
        for plan in plans:
            for batch in self._batches(plan):
                stats = stats + self._backward(plan, batch)
            self._policy.rejoin()
        self._policy.base.eval()
        return stats

    def _batches(self, plan: TrainBatch) -> list[MicroBatch]:
        packed = micro_batches(plan.rows, self._budget.tokens, share_contexts=self._policy.share_contexts)
        return [collate(plan.rows, indices, self._policy.device) for indices in packed]

    def _backward(self, plan: TrainBatch, batch: MicroBatch) -> UpdateStats:
        objective = plan.objective
        reference_N = None
        if objective.kl is not None:
            with torch.no_grad(), self._policy.adapters.reference():
                reference_N, _ = self._score(batch, entropy=False)
        logprobs_N, entropy_N = self._score(batch, entropy=objective.entropy != 0.0)
        old_N = torch.cat([plan.old[i] for i in batch.indices]) if plan.old else None
        importance_N, importance = self._importance(plan, batch, logprobs_N.detach() if old_N is None else old_N)
        terms = TokenTerms(
            logprobs_N,
            old_N,
            batch.advantages_N,
            batch.weights_N,
            batch.sequences.rows_N,
            len(batch.indices),
            reference_N,
            entropy_N,
            importance_N,
        )
        parts = objective_loss(objective, terms)
        parts.total.backward()
        return importance + UpdateStats(
            loss=parts.total.item(),
            kl=parts.kl,
            clip_fraction=parts.clipped,
            tokens=_tokens(batch.sequences, self._policy.share_contexts),
            logprob_sum=logprobs_N.sum().item(),
            scored=len(logprobs_N),
        )

    def _importance(self, plan: TrainBatch, batch: MicroBatch, trainer_N: Tensor) -> tuple[Tensor | None, UpdateStats]:
        """Truncated π/μ of each token, or None where the engine that sampled is the policy itself."""
        if self._cap is None:
            return None, UpdateStats()
        if plan.behind_prompt:
            trainer_N = torch.cat([plan.behind_prompt[i] for i in batch.indices])
        importance_N, ratio_N = truncated_importance(trainer_N, batch.sampler_N, self._cap)
        return importance_N, UpdateStats(
            ratio_sum=ratio_N.sum().item(),
            mismatch_sum=(trainer_N - batch.sampler_N).abs().sum().item(),
            capped=int((ratio_N > self._cap).sum()),
            weighted=len(ratio_N),
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
    contexts = set(sequences.contexts) if share_contexts else sequences.contexts
    return sum(map(len, contexts)) + len(sequences.targets_N)
