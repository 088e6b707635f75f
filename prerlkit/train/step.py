"""The update: log-probs, loss and gradient, clip, optimizer step. What to train on is decided in `train/batch.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from prerlkit.errors import PrerlkitError
from prerlkit.objective.loss import TokenTerms, objective_loss, truncated_importance
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.microbatch import micro_batches
from prerlkit.policy.policy import Policy
from prerlkit.recipe.rollout import IMPORTANCE_CAP
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.train.batch import MicroBatch, ObjectiveRows, TrainBatch, TrainRow, collate, train_batch
from prerlkit.train.distributed import World
from prerlkit.train.oom import TokenBudget, out_of_memory
from prerlkit.train.optim import make_optimizer
from prerlkit.types import Group


class _HasLongest(Protocol):
    @property
    def longest(self) -> int: ...


B = TypeVar("B", bound=_HasLongest)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Sums over the optimizer steps of one rollout batch; docs/metrics.md defines the metrics made of them.

    Within `Updater.loss_and_gradient` the sums over tokens are tensors on the device (`on_host`).
    """

    loss: float = 0.0
    kl: float = 0.0
    clip_fraction: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    """Tokens that went through the model with gradient, contexts included, padding not."""
    logprob_sum: float = 0.0
    """Log-probs, in their objective's space, of the completion tokens that carried gradient; nats."""
    scored: int = 0
    """Number of those tokens."""
    skipped: int = 0
    """Optimizer steps in which nothing carried gradient, or whose gradient was not finite."""
    nonfinite: int = 0
    """The latter alone."""
    ratio_sum: float = 0.0
    """π/μ of the tokens with importance weights, not truncated."""
    mismatch_sum: float = 0.0
    """|log π − log μ| of the same, nats."""
    capped: int = 0
    """Number of them that the cap truncated."""
    weighted: int = 0
    """Number of tokens with importance weights; 0 where the engine is the policy itself."""
    replayed: float = 0.0
    """Number of them that an earlier policy sampled (`rollout.replay`)."""
    replay_weight_sum: float = 0.0
    """Truncated weights of those."""

    def __add__(self, other: UpdateStats) -> UpdateStats:
        return UpdateStats(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))

    def on_host(self) -> UpdateStats:
        """Return the same as plain numbers. Until then the sums stay on the device: the host waits once for all."""
        there = [value for value in _values(self) if isinstance(value, Tensor)]
        numbers = iter(torch.stack(there).tolist() if there else ())
        read = UpdateStats(*(next(numbers) if isinstance(value, Tensor) else value for value in _values(self)))
        return replace(read, capped=int(read.capped))


def _values(stats: UpdateStats) -> tuple[Any, ...]:
    """Return the fields as they are. `dataclasses.astuple` would copy tensors."""
    return tuple(getattr(stats, field.name) for field in fields(stats))


def _sum(values_N: Tensor) -> Any:
    """Return the sum for the metrics, on the device, in float64 as all sums of a step."""
    return values_N.detach().sum().double()


def _within_memory(work: Callable[[Updater, B], T]) -> Callable[[Updater, B], T]:
    """Return `work`, a method on a batch, with retries: smaller micro-batches when memory runs out (`oom.TokenBudget`).

    The method raises PrerlkitError when even one row alone does not fit.
    """

    @wraps(work)
    def retried(updater: Updater, batch: B) -> T:
        # With a sharded base all processes must make the same passes: the number of micro-batches can't change.
        least = updater._budget.tokens if updater._memory.shard_base else batch.longest
        try:
            return updater._budget.run_within(lambda: work(updater, batch), least, updater._halved)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise updater._no_room(batch.longest) from error

    return retried


class Updater:
    """One stage's optimizer, from its first step to its last.

    Args:
        policy: its trainable adapter is updated.
        stage: objectives, steps, rates.
        world: the processes that share the step.
        optimizer: the optimizer of the stage before, to continue with its moments (`keep_optimizer`).
        on_message: called with a line of text when micro-batches become smaller.
        progress: called with (rows done, rows in all) of a loss, of this process.
    """

    def __init__(
        self,
        policy: Policy,
        stage: Stage,
        memory: Memory,
        world: World,
        optimizer: torch.optim.Optimizer | None = None,
        on_message: Callable[[str], None] = lambda line: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.policy = policy
        self.stage = stage
        self.world = world
        self._memory = memory
        self._budget = TokenBudget(memory.microbatch_tokens)
        self._on_message = on_message
        self._progress = progress
        self._parameters = policy.adapters.trainable
        self._cap = stage.rollout.importance
        if stage.rollout.importance_cap == "auto" and policy.samples_by_other_kernels:
            self._cap = IMPORTANCE_CAP
        self.optimizer = optimizer or make_optimizer(self._parameters, stage.optimizer, stage.learning_rate)

    def score(self, batches: Sequence[TrainBatch]) -> list[TrainBatch]:
        """Return `batches` with the log-probs under the current policy, where a loss will need them.

        With one batch the update is on-policy: the ratio is 1 and no old log-probs are needed. With several, the policy
        has moved by the second. Importance weights compare log π(y|x) with the engine's, in every space.
        """
        scored = []
        for batch in batches:
            parts = batch.parts
            if self._cap is not None:
                parts = tuple(self._with_given_prompt(part) for part in parts)
            if len(batches) > 1:
                parts = tuple(replace(part, old=self._logprobs(part)) for part in parts)
            scored.append(TrainBatch(parts))
        return scored

    @_within_memory
    def loss_and_gradient(self, batch: TrainBatch) -> UpdateStats:
        """Compute loss and gradient of this process's rows, one micro-batch at a time; gradients are in `.grad`."""
        self.optimizer.zero_grad(set_to_none=True)
        stats, done, rows = UpdateStats(), 0, sum(len(part.rows) for part in batch.parts)
        self._progress(done, rows)
        self.policy.base.train()  # adapter dropout and gradient checkpointing; the base's own dropouts are 0
        for part in batch.parts:
            for micro in self._micro_batches(part.rows):
                stats = stats + self._backward(part, micro)
                done += len(micro.indices)
                self._progress(done, rows)
            self.policy.rejoin()
        self.policy.base.eval()
        return stats.on_host()

    def optimizer_step(self, batch: TrainBatch, stats: UpdateStats, rate: float) -> UpdateStats:
        """Sum gradients over the processes, clip them, step at learning rate `rate`; skip an update that is not finite.

        Args:
            stats: of `loss_and_gradient`, this process's.

        Returns:
            The stats of all processes.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Gathered before the gradients: a process that failed is noticed here, not by a time-out on the devices.
        stats = sum(self.world.gather(stats), UpdateStats())
        if not batch.global_rows:
            return UpdateStats(skipped=1)
        self.world.sum_gradients(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.stage.optimizer.max_grad_norm).item()
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            return UpdateStats(tokens=stats.tokens, skipped=1, nonfinite=1)
        self.optimizer.step()
        return stats + UpdateStats(grad_norm=norm)

    def gradients(self, groups: Sequence[Group]) -> UpdateStats:
        """Compute this process's part of the on-policy gradient of `groups`, without an optimizer step."""
        (batch,) = self.score([train_batch(groups, self.stage, self.policy.start.id, self.world)])
        return self.loss_and_gradient(batch)

    def _with_given_prompt(self, part: ObjectiveRows) -> ObjectiveRows:
        """Return `part` with log π(y|x), which an objective in conditional space computes anyway."""
        if part.objective.space == "conditional":
            return part
        rows = tuple(replace(row, context=row.prompt) for row in part.rows)
        return replace(part, given_prompt=self._logprobs(replace(part, rows=rows)))

    @_within_memory
    @torch.no_grad()
    def _logprobs(self, part: ObjectiveRows) -> tuple[Tensor, ...]:
        """Return the log-probs of each row's completion under the current policy. [tokens of the row] each"""
        found: dict[int, Tensor] = {}
        for micro in self._micro_batches(part.rows):
            logprobs_N, _ = self._score(micro, entropy=False)
            lengths = [len(part.rows[index].completion) for index in micro.indices]
            found.update(zip(micro.indices, logprobs_N.split(lengths), strict=True))
        self.policy.rejoin()
        return tuple(found[index] for index in range(len(part.rows)))

    def _micro_batches(self, rows: Sequence[TrainRow]) -> list[MicroBatch]:
        packed = micro_batches(rows, self._budget.tokens, share_contexts=self.policy.share_contexts)
        return [collate(rows, indices, self.policy.device) for indices in packed]

    def _backward(self, part: ObjectiveRows, micro: MicroBatch) -> UpdateStats:
        """Compute forward, loss and backward of one micro-batch. Its tensors are freed on return."""
        objective = part.objective
        reference_N = None
        if objective.kl is not None:
            with torch.no_grad(), self.policy.adapters.reference():
                reference_N, _ = self._score(micro, entropy=False)
        logprobs_N, entropy_N = self._score(micro, entropy=objective.entropy != 0.0)
        old_N = None if part.old is None else torch.cat([part.old[i] for i in micro.indices])
        importance_N, importance = self._importance(part, micro, logprobs_N.detach() if old_N is None else old_N)
        terms = TokenTerms(
            logprobs_N,
            old_N,
            micro.advantages_N,
            micro.weights_N,
            micro.sequences.rows_N,
            len(micro.indices),
            reference_N,
            entropy_N,
            importance_N,
        )
        parts = objective_loss(objective, terms)
        parts.total.backward()
        return importance + UpdateStats(
            loss=_sum(parts.total),
            kl=_sum(parts.kl),
            clip_fraction=_sum(parts.clipped),
            tokens=_tokens(micro.sequences, self.policy.share_contexts),
            logprob_sum=_sum(logprobs_N),
            scored=len(logprobs_N),
        )

    def _importance(
        self, part: ObjectiveRows, micro: MicroBatch, trainer_N: Tensor
    ) -> tuple[Tensor | None, UpdateStats]:
        """Return truncated π/μ of each token, or None where the engine that sampled is the policy itself."""
        if self._cap is None:
            return None, UpdateStats()
        if part.given_prompt is not None:
            trainer_N = torch.cat([part.given_prompt[i] for i in micro.indices])
        importance_N, ratio_N = truncated_importance(trainer_N, micro.sampler_N, self._cap)
        return importance_N, UpdateStats(
            ratio_sum=_sum(ratio_N),
            mismatch_sum=_sum((trainer_N - micro.sampler_N).abs()),
            capped=_sum(ratio_N > self._cap),
            weighted=len(ratio_N),
            replayed=_sum(micro.replayed_N),
            replay_weight_sum=_sum(micro.replayed_N * importance_N),
        )

    def _score(self, micro: MicroBatch, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
        return self.policy.logprobs(
            micro.sequences,
            temperature=self.stage.rollout.temperature,
            chunk=self._memory.logits_chunk,
            entropy=entropy,
        )

    def _halved(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)  # frees them; the next try begins from its start
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


def _tokens(sequences: Sequences, share_contexts: bool) -> int:
    """Return the number of tokens that went through the model, padding not counted."""
    contexts = set(sequences.contexts) if share_contexts else sequences.contexts
    return sum(map(len, contexts)) + len(sequences.targets_N)
