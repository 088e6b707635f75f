"""The loop. Read this first: everything else is one of its arrows.

    P prompts ─► G completions each ─► verdicts ─► advantages, batch, loss, step ─► one line of metrics

Letters on tensors and tuples: P prompts of a step, G completions a prompt, B sequences, T tokens, V vocabulary,
D width, N tokens that are scored.

What is not here, on purpose: no branch by algorithm, engine or verifier (they were chosen when the run was built), no
random state (every draw is a function of seed and position), no configuration that changes while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from prerlkit.data.stream import PromptStream
from prerlkit.metrics.catalogue import TOKENS_GENERATED
from prerlkit.policy.policy import Policy
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.seeds import derive
from prerlkit.train.callbacks import Callback, StopSignal
from prerlkit.train.checkpoint import Position
from prerlkit.train.checkpoints import Checkpoints
from prerlkit.train.collect import Judge, collect
from prerlkit.train.distributed import World
from prerlkit.train.early_stop import reached
from prerlkit.train.evaluate import evaluate
from prerlkit.train.folder import RunFolder
from prerlkit.train.health import HealthWatch
from prerlkit.train.metrics import peak_memory, step_metrics
from prerlkit.train.optim import rate_at
from prerlkit.train.probe_runner import ProbeRunner
from prerlkit.train.step import Updater
from prerlkit.types import Prompt, StepRecord


class Stopped(Exception):  # noqa: N818 -- not an error: the person asked for it, and everything is saved
    """The run stopped after a step because it was asked to; a checkpoint is written."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the loop works with: all of it chosen once, when the run was built."""

    recipe: Recipe
    policy: Policy
    engine: RolloutEngine
    judge: Judge
    stream: PromptStream
    eval_prompts: tuple[Prompt, ...]
    folder: RunFolder
    checkpoints: Checkpoints
    health: HealthWatch
    probing: ProbeRunner
    past: list[tuple[str, Mapping[str, float]]]
    """(stage, metrics) of every step that is done: what metrics.jsonl holds."""
    callback: Callback
    stop: StopSignal
    world: World


def run_stage(room: RunContext, stage: Stage, updater: Updater, position: Position) -> Iterator[Position]:
    """Do the steps of `stage` that are left, or those until its rule ends it, and yield where the run is after each.

    Raises:
        Stopped: it was asked for; the checkpoint is written.
        Unhealthy: a condition holds on which the recipe stops; the checkpoint is written.
    """
    adapters, optimizer = room.policy.adapters, updater.optimizer
    seed, output, every = room.recipe.seed, room.recipe.output, room.recipe.evaluation.every
    room.callback.on_stage_begin(stage.name, stage.steps, position.stage_step)
    for step in range(position.stage_step, stage.steps):
        if why := reached(stage, room.past):
            room.callback.on_message(why)
            return
        if every and step and step % every == 0:
            position = run_evaluation(room, f"step {position.step}", position)
        begun = time.perf_counter()
        prompts_P = room.stream.batch(position.prompts, stage.rollout.prompts_per_step)
        sampling = _sampling(stage, derive(seed, "rollout", position.step))
        with room.checkpoints.rescue(position, adapters, optimizer):
            collected = collect(  # rollout and verification: P groups of G judged completions
                room.engine,
                room.judge,
                prompts_P,
                sampling,
                lambda done, n: room.callback.progress("rollout", done, n),
                room.world,
            )
            measured = room.probing.measure(stage, step, collected.groups, room.past)
        torch.manual_seed(derive(seed, "train", position.step))  # adapter dropout
        trained = time.perf_counter()
        stats = updater.update(collected.groups, step)  # advantage, batch, objective, step
        train_seconds, peak = room.world.maxima(time.perf_counter() - trained, peak_memory())
        measured = room.probing.finish(measured, stage, collected.groups, room.past)

        rate = rate_at(step, stage.steps, stage.learning_rate, stage.schedule)
        metrics = step_metrics(collected, stats, rate, train_seconds, room.recipe.verifiers, peak)
        metrics = {**metrics, **measured.metrics, **room.health.examine(stage.name, metrics)}
        room.past.append((stage.name, metrics))
        position = replace(
            position,
            stage_step=step + 1,
            step=position.step + 1,
            prompts=position.prompts + len(prompts_P),
            seconds=position.seconds + time.perf_counter() - begun,
            generated=position.generated + int(metrics[TOKENS_GENERATED.name]),
            trained=position.trained + stats.tokens,
            skipped=position.skipped + stats.skipped,
        )
        record = StepRecord(position.step, stage.name, metrics, collected.groups, measured.details)
        room.folder.append_step(record, output.samples_per_step)
        room.callback.on_step_end(record, step + 1, stage.steps)

        stopping = room.world.any(room.stop.requested)  # asked once: a later request waits for the next step
        due = any(n and (step + 1) % n == 0 for n in (output.checkpoint_every, every))
        if stopping or due or room.health.wants_stop:
            room.checkpoints.save(position, adapters, optimizer)
        yield position
        room.health.raise_if_stopping()
        if stopping:
            raise Stopped


def run_evaluation(room: RunContext, name: str, position: Position) -> Position:
    """Evaluate the policy as it is now and write the result down, unless that was done before a resume."""
    if any((r.name, r.step) == (name, position.step) for r in room.folder.read_evaluations()):
        return position
    result, _ = evaluate(
        room.engine,
        room.judge,
        room.eval_prompts,
        room.recipe.evaluation,
        name=name,
        step=position.step,
        seed=derive(room.recipe.seed, "evaluation"),  # the same draws each time: differences are the policy's
        max_new_tokens=room.recipe.rollout.max_new_tokens,
        progress=lambda done, n: room.callback.progress(f"evaluation {name}", done, n),
        world=room.world,
    )
    room.folder.append_evaluation(result)
    room.callback.on_evaluate(result)
    return replace(position, seconds=position.seconds + result.seconds)


def _sampling(stage: Stage, seed: int) -> Sampling:
    rollout = stage.rollout
    return Sampling(
        samples=rollout.group_size,
        max_new_tokens=rollout.max_new_tokens,
        temperature=rollout.temperature,
        seed=seed,
        top_p=rollout.top_p,
        top_k=rollout.top_k,
    )
