"""A run: build the parts once, run the stages, write the run folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.stage_effect import StageEffect, stage_effects
from prerlkit.probes.registry import make_probes
from prerlkit.recipe.load import dump
from prerlkit.recipe.plugins import bind
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.runs.checkpoint import Checkpoint, Position
from prerlkit.runs.checkpoints import list_steps
from prerlkit.runs.files import Existing
from prerlkit.runs.state import STOPPED
from prerlkit.runs.writer import RunWriter
from prerlkit.secrets import redact
from prerlkit.seeds import derive
from prerlkit.train import environment, resume
from prerlkit.train.callbacks import Callback, StopSignal
from prerlkit.train.connect import take_device
from prerlkit.train.distributed import ALONE, World
from prerlkit.train.guard import collapsed, last_good
from prerlkit.train.health import HealthWatch
from prerlkit.train.load import policy_and_engine
from prerlkit.train.metrics import peak_memory
from prerlkit.train.prepare import Prepared, prepare
from prerlkit.train.probe_runner import ProbeRunner
from prerlkit.train.stage import RunContext, Stopped, run_evaluation, run_stage
from prerlkit.train.stage_kl import StageKl
from prerlkit.train.step import Updater
from prerlkit.train.step_data import make_sources
from prerlkit.train.summary import Summary
from prerlkit.train.taken_stage import TakenStage, began_with, settle, take_stage
from prerlkit.train.validate import check_processes
from prerlkit.verify.pool.runner import Runner


def run(
    recipe: Recipe,
    output: Path,
    *,
    recipe_folder: Path | None,
    callback: Callback,
    stop: StopSignal,
    existing: Existing = "refuse",
    world: World = ALONE,
) -> Summary:
    """Run `recipe` into the folder `output`.

    Args:
        recipe_folder: where the recipe file is, for relative paths and plugins next to it.
        callback: receives messages, steps and evaluations.
        stop: read after every step.
        existing: what to do with a folder that is not empty. `resume` starts from the beginning without a checkpoint.
        world: the processes of the run, this one among them. Each calls this function.

    Raises:
        PrerlkitError: with what to do next; the run folder then says `failed` and keeps its last checkpoint.
    """
    world.agree("recipe or options", (dump(recipe), existing), "Start all of them with the same command and files.")
    writer = RunWriter(output, primary=world.primary, keep=recipe.output.keep_checkpoints)
    writer.check(existing)
    begun = writer.files if existing == "resume" else None
    resuming = bool(begun and list_steps(begun.checkpoints))  # a checkpoint has the weights
    with world.first_on_each_machine():
        written = settle(recipe, recipe_folder, begun, fetch=not resuming, report=callback.on_message)
    recipe = bind(written, recipe_folder)  # what is written down has no path of this machine
    check_processes(recipe, world.size)
    take_device(world, recipe.model.device)
    compare_recipes = partial(resume.check_recipe, written, begun) if begun else list[str]
    changes = world.from_primary(compare_recipes)
    prepared = _prepared(recipe, recipe_folder, callback, world)
    taken = None if resuming else take_stage(recipe, recipe_folder, prepared.model)
    for line in (*changes, *prepared.notes):
        callback.on_message(line)
    with (
        _judge(recipe, recipe_folder) as judge,
        policy_and_engine(recipe, prepared, callback, world.rank, taken) as (policy, engine),
        writer.locked(),
    ):
        began = world.from_primary(partial(began_with, recipe, recipe_folder, taken, writer.files))
        origin = resume.origin(prepared, written, recipe_folder, began)
        world.from_primary(compare_recipes)  # again: before the lock another run may have used the folder
        found = _checkpoint(written, writer, existing, origin, prepared, callback, world)
        past = _begin(written, writer, found, callback, world)
        writer.write_environment(environment.describe(prepared, policy.device, recipe_folder, origin))
        context = RunContext(
            recipe,
            policy,
            engine,
            judge,
            make_sources(recipe, prepared, engine, judge, callback, world),
            prepared.prompts.eval,
            writer,
            HealthWatch(recipe.health, callback.on_message, past),
            ProbeRunner(make_probes(recipe), policy, recipe.memory, world, callback.on_message),
            StageKl(policy, recipe.memory, world, callback.on_message),
            past,
            callback,
            stop,
            world,
        )
        return _Stages(context, found, taken).run()


def _prepared(recipe: Recipe, folder: Path | None, callback: Callback, world: World) -> Prepared:
    """Return what needs no weights, the same in all processes."""
    with world.first_on_each_machine():
        prepared = prepare(recipe, folder, callback.on_message)
    world.agree("model or prompts", prepared.fingerprint(), "Give all machines the same files, and model.revision.")
    return prepared


def _begin(
    recipe: Recipe, writer: RunWriter, found: Checkpoint | None, callback: Callback, world: World
) -> list[tuple[str, Mapping[str, float]]]:
    """Mark the run as running from the checkpoint on, and return its steps. `recipe`: as recipe.yaml has it."""
    writer.begin(found.position.step if found else 0, recipe.name, recipe.seed, callback.on_message)
    writer.restore_evaluations(world.from_primary(writer.read_evaluations))
    writer.write_recipe(dump(recipe))
    return world.from_primary(writer.read_history)


def _checkpoint(
    recipe: Recipe,
    writer: RunWriter,
    existing: Existing,
    origin: dict[str, Any],
    prepared: Prepared,
    callback: Callback,
    world: World,
) -> Checkpoint | None:
    """Make the folder ready, and return the checkpoint to resume from: the newest that is whole.

    This recipe must be able to continue it.
    """
    writer.create(existing, origin)
    if existing != "resume":
        return None
    found = world.from_primary(lambda: writer.newest_checkpoint(callback.on_message))
    if found is None:
        callback.on_message(f"no checkpoint in {writer.files.path} yet: beginning with the first step")
        return None
    if not found.folder.is_dir():
        raise UsageError(
            f"This process sees no checkpoint in {writer.files.path}.",
            "To resume on several machines, the run folder must lie on a disk that all of them see.",
        )
    resume.check_origin(found, origin, prepared)
    resume.check_steps(recipe, found, world.from_primary(writer.read_history))
    callback.on_message(f"resuming after step {found.position.step}, from {found.folder}")
    return found


def _judge(recipe: Recipe, folder: Path | None) -> Runner:
    workers = recipe.memory.verifier_workers
    return Runner(recipe.verifiers, reward=recipe.reward, gates=recipe.gates, folder=folder, workers=workers)


class _Stages:
    """The stages in order, from the position on. A resumed run goes through the finished ones without their steps."""

    def __init__(self, context: RunContext, found: Checkpoint | None, taken: TakenStage | None) -> None:
        self._context = context
        self._found = found
        self._taken = taken
        self._position = self._start = found.position if found else Position()
        self._optimizer: torch.optim.Optimizer | None = None

    def run(self) -> Summary:
        """Go to the end, or to a stop. The summary is written in every case."""
        reason = "completed"
        begun, counted = time.perf_counter(), self._position.seconds
        with self._context.stop.steps(self._record_stopped):
            try:
                self._go()
            except Stopped:
                reason = STOPPED
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                why = STOPPED if interrupted else f"failed: {type(error).__name__}: {redact(str(error))}"
                with suppress(OSError, PrerlkitError):  # what failed first is what a person should read
                    self._end(why, counted, begun)
                raise
            return self._end(reason, counted, begun)

    def _go(self) -> None:
        for index, stage in enumerate(self._context.recipe.stages):
            self._reincarnate(index, stage)
            if index >= self._start.stage:
                self._do(index, stage)
        self._context.callback.on_message("writing the adapter of all stages together")
        self._context.writer.save_policy(self._context.policy.adapters, self._context.recipe.model.id)

    def _record_stopped(self) -> None:
        """Write the shortest summary. Another thread calls it when this one is inside a library's C code."""
        recipe = self._context.recipe
        self._context.writer.write_summary({"name": recipe.name, "seed": recipe.seed, "exit_reason": STOPPED})

    def _end(self, reason: str, counted: float, begun: float) -> Summary:
        self._position = replace(self._position, seconds=counted + time.perf_counter() - begun)
        writer, past = self._context.writer, self._context.past[: self._position.step]
        done, evaluations, folder = Counter(name for name, _ in past), writer.evaluations, writer.files.path
        restored = {s.name: last_good(s, past) for s in self._context.recipe.stages if collapsed(s, past)}
        effects = self._effects()
        summary = Summary(reason, evaluations, self._position, peak_memory(), done, effects, restored, folder)
        writer.write_summary(summary.to_json(self._context.recipe))
        return summary

    def _effects(self) -> tuple[StageEffect, ...]:
        steps = self._context.past[: self._position.step]
        return stage_effects(steps, [result.totals() for result in self._context.writer.evaluations])

    def _reincarnate(self, index: int, stage: Stage) -> None:
        """Change the adapters to those of the first step of `stage` (reincarnation)."""
        recipe, adapters = self._context.recipe, self._context.policy.adapters
        if index and stage.reincarnation == "continue":
            adapters.continue_top(stage.name)
        else:
            if index and stage.reincarnation == "merge":
                lost = adapters.merge_top()
                self._context.callback.on_message(
                    f"merged the adapter below into the weights; rounding took {100 * lost:.2g} % at the worst layer"
                )
            adapters.fresh(stage.name, stage.adapter, derive(recipe.seed, "adapter", stage.name))
        if self._found and index < self._start.stage and stage.name in self._found.stages:
            self._found.restore_adapter(stage.name, adapters)
            self._context.writer.save_stage(adapters, stage.name, recipe.model.id)  # it may be damaged, or gone

    def _do(self, index: int, stage: Stage) -> None:
        context, recipe = self._context, self._context.recipe
        kept, self._optimizer = (self._optimizer if stage.keep_optimizer else None), None
        report, progress = context.callback.on_message, partial(context.callback.progress, "training")
        updater = Updater(context.policy, stage, recipe.memory, context.world, kept, report, progress)
        if self._found and index == self._start.stage:
            self._found.restore_adapter(stage.name, context.policy.adapters)
            self._found.restore_optimizer(updater.optimizer)
            if state := self._found.source:
                context.sources[stage.name].restore(self._position, state)
        if self._start.step == 0 and index == 0 and "before" in recipe.evaluation.when:
            self._position = run_evaluation(context, "before", self._position)
        if index == 0 and self._taken and not self._found:
            self._taken.load(context.policy.adapters, stage.name)
            context.callback.on_message(f'stage "{stage.name}" is {self._taken.note}')
        for position in run_stage(context, stage, updater, self._position):
            self._position = position
        same = context.policy.adapters.digest(stage.name)
        context.world.agree("the adapter they trained", same, "This is a bug or a broken device: nothing was written.")
        context.writer.save_stage(context.policy.adapters, stage.name, recipe.model.id)
        context.save(stage, self._position, updater)
        last = index == len(recipe.stages) - 1
        if ("after" if last else "between") in recipe.evaluation.when:
            self._position = run_evaluation(context, f"after {stage.name}", self._position)
        for effect in self._effects():
            if effect.stage == stage.name:
                context.callback.on_stage_end(effect)
        updater.optimizer.zero_grad(set_to_none=True)  # a frozen adapter has no use for its last gradient
        following = self._context.recipe.stages[index + 1 : index + 2]
        # Moments of a collapse don't belong to the adapter that was restored.
        wanted = any(later.keep_optimizer for later in following) and not collapsed(stage, context.past)
        self._optimizer = updater.optimizer if wanted else None
        self._position = self._position.next_stage()
