"""The loop. Read this first: `train_step` and `update_policy` are the algorithm, in the order in which it runs.

    sample, judge            StepSource.take              train/step_data.py, train/sample_and_judge.py
    advantages, train batch  train_batch                  objective/advantage.py, train/batch.py
    loss and gradient        Updater.loss_and_gradient    train/step.py, objective/loss.py, policy/logprobs.py
    optimizer step           Updater.optimizer_step       train/step.py
    record                   RunContext.record            train/metrics.py, runs/writer.py

Letters on tensors and tuples: P prompts of a step, G completions of a prompt, B sequences, T tokens, V vocabulary,
D width, N tokens that are scored.

The loop has no branch by algorithm, engine or verifier (they were chosen when the run was built), no random state
(every draw is a function of seed and position), and no configuration that changes while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from prerlkit.evaluation.during_run import evaluate
from prerlkit.evaluation.request import EvalSettings
from prerlkit.metrics.catalogue import REPLAY_SHARE, STAGE_KL, TOKENS_GENERATED
from prerlkit.policy.policy import Policy
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.runs.checkpoint import Position
from prerlkit.runs.writer import RunWriter
from prerlkit.seeds import derive
from prerlkit.train import guard
from prerlkit.train.batch import train_batch
from prerlkit.train.callbacks import Callback, StopSignal
from prerlkit.train.distributed import World
from prerlkit.train.early_stop import reached
from prerlkit.train.evaluation_part import EvaluationPart, identity
from prerlkit.train.health import HealthWatch
from prerlkit.train.metrics import peak_memory, update_metrics
from prerlkit.train.optim import rate_at
from prerlkit.train.pace import Pace
from prerlkit.train.probe_runner import ProbeRunner
from prerlkit.train.sample_and_judge import Judge, SamplingInterrupted, sample_and_judge
from prerlkit.train.stage_kl import StageKl
from prerlkit.train.step import Updater, UpdateStats
from prerlkit.train.step_data import StepSource
from prerlkit.types import Group, Prompt, StepRecord


class Stopped(Exception):  # noqa: N818 -- not an error: the person asked for it, and everything is saved
    """The run stopped after a step on request; a checkpoint is written."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The parts that the loop works with, each chosen once, when the run was built."""

    recipe: Recipe
    policy: Policy
    engine: RolloutEngine
    judge: Judge
    sources: Mapping[str, StepSource]
    """Of each stage, by its name."""
    eval_prompts: Sequence[Prompt]
    writer: RunWriter
    health: HealthWatch
    probing: ProbeRunner
    stage_kl: StageKl
    past: list[tuple[str, Mapping[str, float]]]
    """(stage, metrics) of every step that is done, as in metrics.jsonl."""
    callback: Callback
    stop: StopSignal
    world: World
    pace: Pace = field(default_factory=Pace)

    def save(self, stage: Stage, position: Position, updater: Updater) -> None:
        """Write the checkpoint of `position`, which is in `stage`."""
        kept = self.sources[stage.name].state(position)
        self.writer.save_checkpoint(position, self.policy.adapters, updater.optimizer, kept)

    def record(self, record: StepRecord, stage: Stage, done: int) -> None:
        """Write down a step, `done` of the stage's, and report it."""
        self.past.append((stage.name, record.metrics))
        self.writer.append_step(record, self.recipe.output.samples_per_step)
        self.callback.on_step_end(record, done, stage.steps)
        if slower := self.pace.examine(stage.name, record.metrics, self.writer.files.path):
            self.callback.on_message(slower)


def run_stage(context: RunContext, stage: Stage, updater: Updater, position: Position) -> Iterator[Position]:
    """Do the remaining steps of `stage`, or those until its early stop, and yield the position after each.

    A stage with a guard keeps its last good adapter, and restores it after the step in which the guard acts.

    Raises:
        Stopped: a stop was requested; the checkpoint is written.
        Unhealthy: a condition holds on which the recipe stops; the checkpoint is written.
    """
    save_every, evaluate_every = context.recipe.output.checkpoint_every, context.recipe.evaluation.every
    context.callback.on_stage_begin(stage.name, stage.steps, position.stage_step)
    for step in range(position.stage_step, stage.steps):
        if reached(stage, context.past):
            break
        if evaluate_every and step and step % evaluate_every == 0:
            position = run_evaluation(context, f"step {position.step}", position)

        with guarded(context, stage):
            position = train_step(context, stage, updater, position)

        stopping = context.world.any(context.stop.requested)  # asked once: a later request waits for the next step
        due = any(n and (step + 1) % n == 0 for n in (save_every, evaluate_every))
        if stopping or due or context.health.wants_stop:
            context.save(stage, position, updater)
        yield position
        context.health.raise_if_stopping(context.writer.files.path)
        if stopping:
            raise Stopped
    if why := reached(stage, context.past):
        context.callback.on_message(why)


@contextmanager
def guarded(context: RunContext, stage: Stage) -> Iterator[None]:
    """Enclose a step of a stage that has a guard: keep the adapter before the step where the step shows it to be good.

    When the guard ends the stage after this step, the last good adapter is restored.
    """
    if stage.guard is None:
        yield
        return
    adapters = context.policy.adapters
    before = adapters.state(stage.name)
    if not adapters.has_good:
        adapters.keep_good(stage.name, before)  # the stage's start
    yield
    if guard.is_good(stage, context.past):
        adapters.keep_good(stage.name, before)
    if guard.collapsed(stage, context.past):
        adapters.restore_good()


def train_step(context: RunContext, stage: Stage, updater: Updater, position: Position) -> Position:
    """Do one step of the algorithm: take its sequences, update the policy, record. Return the position after it."""
    begun, step, seed = time.perf_counter(), position.stage_step, context.recipe.seed

    with context.writer.rescue(position, partial(context.save, stage, position, updater)):
        data = context.sources[stage.name].take(stage, position, context.past)
        probed = context.probing.measure(stage, step, data.sampled, context.past)

    torch.manual_seed(derive(seed, "train", position.step))  # adapter dropout
    rate = rate_at(step, stage.steps, stage.learning_rate, stage.schedule)
    taken = time.perf_counter()
    stats = update_policy(updater, data.groups, rate)
    train_seconds, peak = context.world.maxima(time.perf_counter() - taken, peak_memory())
    probed = context.probing.finish(probed, stage, data.sampled, context.past)

    replay = REPLAY_SHARE.name in data.metrics
    metrics = {**data.metrics, **update_metrics(stats, rate, data.seconds, train_seconds, peak, replay)}
    metrics = {**metrics, **probed.metrics, **context.health.examine(stage.name, metrics)}
    metrics = {**metrics, **_at_stage_end(context, stage, step, data.sampled, metrics)}
    position = position.advance(
        prompts=data.prompts,
        seconds=time.perf_counter() - begun,
        generated=int(metrics.get(TOKENS_GENERATED.name, 0)),
        trained=stats.tokens,
        skipped=stats.skipped,
    )
    record = StepRecord(position.step, stage.name, metrics, data.sampled, probed.details)
    context.record(record, stage, position.stage_step)
    return position


def _at_stage_end(
    context: RunContext, stage: Stage, step: int, groups: Sequence[Group], metrics: Mapping[str, float]
) -> dict[str, float]:
    """Return the metrics that the stage's last step has in addition, after its update; none in an earlier step."""
    past = [*context.past, (stage.name, metrics)]
    if step + 1 < stage.steps and not reached(stage, past):
        return {}
    if guard.collapsed(stage, past):
        return {}  # the policy that is restored did not sample these completions
    kl = context.stage_kl.measure(groups, stage.rollout.temperature)
    return {} if kl is None else {STAGE_KL.name: kl}


def update_policy(updater: Updater, groups: Sequence[Group], rate: float) -> UpdateStats:
    """Train on judged groups, those of all processes: one optimizer step, or `updates_per_rollout` on a share each."""
    stage, updates = updater.stage, updater.stage.optimizer.updates_per_rollout
    batches = [  # advantages, denominators, rows: nothing here runs the model
        train_batch(groups[i::updates], stage, updater.policy.start.id, updater.world) for i in range(updates)
    ]
    stats = UpdateStats()
    for batch in updater.score(batches):  # old log-probs, where the loss needs them
        loss = updater.loss_and_gradient(batch)
        stats = stats + updater.optimizer_step(batch, loss, rate)
    return stats


def run_evaluation(context: RunContext, name: str, position: Position) -> Position:
    """Evaluate the current policy and write the result down, unless that was done before a resume.

    Raises:
        Stopped: a stop was requested; what is judged is written down, and a resumed run evaluates the rest.
    """
    if any((r.name, r.step) == (name, position.step) for r in context.writer.evaluations):
        return position

    # A base in shards is gathered by all processes at the same time: one of them can't leave in the middle.
    stop = None if context.recipe.memory.shard_base else context.stop

    def sampled(prompts: Sequence[Prompt], sampling: Sampling) -> Sequence[Group]:
        def progress(done: int, total: int) -> None:
            context.callback.progress(f"evaluation {name}", done, total)

        return sample_and_judge(context.engine, context.judge, prompts, sampling, progress, context.world, stop).groups

    settings = EvalSettings.of_run(context.recipe)
    chosen = context.eval_prompts[: settings.problems or None]
    part = EvaluationPart(sampled, context.writer, name, position.step, identity(settings, chosen))
    if known := part.restore(context.world.from_primary(context.writer.read_evaluation_part), chosen):
        context.callback.on_message(f"evaluation {name}: {known} prompts were judged before the stop")
    try:
        result = evaluate(
            part.sample,
            context.eval_prompts,
            settings,
            name=name,
            step=position.step,
            measure_kl=context.stage_kl.measure if position.stage_step else None,
        )
    except SamplingInterrupted:
        raise Stopped from None  # the checkpoint of this position is written: before every evaluation
    context.writer.append_evaluation(result)
    context.callback.on_evaluate(result)
    return replace(position, seconds=position.seconds + result.seconds)
