"""A run: build everything once, go through the stages, leave the run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from prerlkit.data.stream import PromptStream
from prerlkit.policy import save, source
from prerlkit.policy.base import quantized_layers
from prerlkit.policy.policy import load_policy
from prerlkit.recipe.load import dump
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.hf import HfEngine
from prerlkit.seeds import derive
from prerlkit.train import checkpoint, environment
from prerlkit.train.checkpoint import Position
from prerlkit.train.distributed import World
from prerlkit.train.evaluate import EvalResult
from prerlkit.train.folder import Existing, RunFolder
from prerlkit.train.metrics import peak_memory
from prerlkit.train.prepare import Prepared, prepare
from prerlkit.train.stage import Room, Stopped, run_evaluation, run_stage
from prerlkit.train.step import Updater
from prerlkit.train.watch import Stop, Watcher
from prerlkit.verify.runner import Runner


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of summary.json.

    Attributes:
        exit_reason: `completed`, `stopped` (asked to; resumable) or `failed: …`.
    """

    exit_reason: str
    evaluations: tuple[EvalResult, ...]
    position: Position
    peak_memory_bytes: int

    def to_json(self, recipe: Recipe) -> dict[str, Any]:
        return {
            "name": recipe.name,
            "seed": recipe.seed,
            "exit_reason": self.exit_reason,
            "stages": [{"name": s.name, "steps": s.steps} for s in recipe.stages],
            "steps": self.position.step,
            "wall_seconds": self.position.seconds,
            "tokens": {"generated": self.position.generated, "trained": self.position.trained},
            "skipped_updates": self.position.skipped,
            "peak_memory_bytes": self.peak_memory_bytes,
            "evaluations": [result.to_json() for result in self.evaluations],
        }


def run(
    recipe: Recipe,
    output: Path,
    *,
    recipe_folder: Path | None,
    watcher: Watcher,
    stop: Stop,
    existing: Existing = "refuse",
    report: source.Report = None,
) -> Summary:
    """Run `recipe` into the folder `output`.

    Args:
        recipe_folder: where the recipe file lies, for relative paths and plugins beside it.
        watcher: hears what happens.
        stop: asked after every step.
        existing: what to do with a folder that is not empty.
        report: hears the phases of a model download.

    Raises:
        PrerlkitError: with what to do next; the run folder then says `failed` and keeps its last checkpoint.
    """
    folder = RunFolder(output)
    folder.check(existing)
    prepared = prepare(recipe, recipe_folder, report)
    for line in prepared.notes:
        watcher.note(line)
    with (
        Runner(recipe.verifiers, reward=recipe.reward, gates=recipe.gates, folder=recipe_folder) as judge,
        _room(recipe, prepared, judge, folder, watcher, stop) as room,
    ):
        folder.create(existing)
        folder.write_recipe(dump(recipe))
        folder.write_environment(environment.describe(prepared, room.policy.device))
        position = checkpoint.read_position(folder.checkpoint) if existing == "resume" else Position()
        folder.rewind(position.step)
        return _Stages(room, position).run()


@contextmanager
def _room(
    recipe: Recipe, prepared: Prepared, judge: Runner, folder: RunFolder, watcher: Watcher, stop: Stop
) -> Iterator[Room]:
    """Load the weights and join everything that the loop works with."""
    policy = load_policy(
        prepared.model.path,
        recipe.model,
        prepared.tokenizer,
        prepared.start,
        prepared.end_ids,
        checkpointing=recipe.memory.gradient_checkpointing,
    )
    if quantized := quantized_layers(policy.base):
        watcher.note(f"{len(quantized)} linear layers in NF4; embeddings, norms and head in {recipe.model.dtype}")
    if not policy.plain_head:
        watcher.note(
            "this model changes its logits after the head: they are held whole, [B, T, V], so use small batches"
        )
    limit = recipe.rollout.max_sequences
    engine = HfEngine(policy.base, prepared.tokenizer, policy.end_ids, limit, plain_head=policy.plain_head)
    stream = PromptStream(prepared.prompts.train, recipe.seed, recipe.data.shuffle)
    try:
        yield Room(recipe, policy, engine, judge, stream, prepared.prompts.eval, folder, watcher, stop, World())
    finally:
        engine.close()


class _Stages:
    """The stages in order, from the position on. A resumed run goes through the finished ones without their steps."""

    def __init__(self, room: Room, position: Position) -> None:
        self._room = room
        self._start = position
        self._position = position
        self._optimizer: torch.optim.Optimizer | None = None

    def run(self) -> Summary:
        """Go to the end, or to a stop. The summary is written in every case."""
        reason = "completed"
        begun, counted = time.perf_counter(), self._position.seconds
        try:
            for index, stage in enumerate(self._room.recipe.stages):
                self._take_over(index, stage)
                if index >= self._start.stage:
                    self._do(index, stage)
            self._room.watcher.note("writing the adapter of all stages together")
            save.save_policy(self._room.policy.adapters, self._room.folder.adapter, self._room.recipe.model.id)
        except Stopped:
            reason = "stopped"
        except BaseException as error:
            reason = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._position = replace(self._position, seconds=counted + time.perf_counter() - begun)
            summary = self._summary(reason)
            self._room.folder.write_summary(summary.to_json(self._room.recipe))
        return summary

    def _take_over(self, index: int, stage: Stage) -> None:
        """Reincarnation: the adapters as `stage` wants them at its first step."""
        recipe, adapters = self._room.recipe, self._room.policy.adapters
        if index and stage.reincarnation == "continue":
            adapters.continue_top(stage.name)
        else:
            if index and stage.reincarnation == "merge":
                lost = adapters.merge_top()
                self._room.watcher.note(
                    f"merged the adapter below into the weights; rounding took {100 * lost:.2g} % at the worst layer"
                )
            adapters.fresh(stage.name, stage.adapter, derive(recipe.seed, "adapter", stage.name))
        if index < self._start.stage:
            save.load_stage(adapters, stage.name, self._room.folder.adapters / stage.name)

    def _do(self, index: int, stage: Stage) -> None:
        room, recipe = self._room, self._room.recipe
        kept = self._optimizer if stage.keep_optimizer else None
        updater = Updater(room.policy, stage, recipe.memory, room.world, kept)
        if index == self._start.stage and self._start.step:
            checkpoint.restore(room.folder.checkpoint, room.policy.adapters, updater.optimizer)
        if index == 0 and "before" in recipe.evaluation.when:
            self._position = run_evaluation(room, "before", self._position)
        for position in run_stage(room, stage, updater, self._position):
            self._position = position
        save.save_stage(room.policy.adapters, stage.name, room.folder.adapters / stage.name, recipe.model.id)
        checkpoint.save(room.folder.checkpoint, self._position, room.policy.adapters, updater.optimizer)
        last = index == len(recipe.stages) - 1
        if ("after" if last else "between") in recipe.evaluation.when:
            self._position = run_evaluation(room, f"after {stage.name}", self._position)
        self._optimizer = updater.optimizer
        self._position = self._position.next_stage()

    def _summary(self, reason: str) -> Summary:
        evaluations = tuple(self._room.folder.read_evaluations())
        return Summary(reason, evaluations, self._position, peak_memory())
