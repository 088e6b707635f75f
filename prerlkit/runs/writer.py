"""The one writer of a run folder. Other tools read what it writes: the files are a contract (docs/run-folder.md)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec

import torch

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.result import EvalResult
from prerlkit.files import is_leftover, remove_leftovers, write_json, write_text
from prerlkit.metrics.catalogue import STAGE, STEP
from prerlkit.policy import save
from prerlkit.policy.adapters import AdapterStack
from prerlkit.runs import lock
from prerlkit.runs.checkpoint import Checkpoint, Position
from prerlkit.runs.checkpoints import Checkpoints, newest_whole
from prerlkit.runs.files import Existing, RunFiles
from prerlkit.runs.jsonl import append_lines, group_line, read_lines, read_metrics, rewrite_lines
from prerlkit.types import StepRecord

P = ParamSpec("P")


class RunWriter:
    """Writes one run. Every process of a run has a writer, and only the primary process's writer touches the folder.

    `_on_primary` is the one place of that rule: every method below that checks, locks or changes the folder does its
    work through it. The other processes remember what they would read back, and read files only for a resume, from a
    disk that all of them see.

    Args:
        path: `<output>`, the same in every process.
        primary: whether this is the process that writes.
        keep: how many of the newest checkpoints stay.
    """

    def __init__(self, path: Path, *, primary: bool = True, keep: int = 1) -> None:
        self.files = RunFiles(path)
        self._primary = primary
        self._keep = keep
        self._checkpoints = Checkpoints(self.files.checkpoints, keep=keep, best=self.best_step)
        self._evaluations: list[EvalResult] = []

    def _on_primary(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        if self._primary:
            work(*args, **kwargs)

    def check(self, existing: Existing) -> None:
        """Check that the run may use the folder. Creates and deletes nothing.

        Raises:
            UsageError: it is not empty and nothing was said about that, or it can't be resumed or overwritten.
        """
        self._on_primary(_check, self.files, existing)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is made if it is missing; see `lock.locked`."""
        with ExitStack() as held:
            self._on_primary(held.enter_context, lock.locked(self.files.path))
            yield

    def create(self, existing: Existing, origin: Mapping[str, Any] | None = None) -> None:
        """Make the folder ready, emptied when overwriting. Call it with the folder locked.

        Args:
            origin: written into each checkpoint; see `checkpoint.save`.
        """
        self._checkpoints = Checkpoints(self.files.checkpoints, keep=self._keep, best=self.best_step, origin=origin)
        self._on_primary(_create, self.files, existing)

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`, before a run continues from there.

        Raises:
            PrerlkitError: metrics.jsonl lacks a step up to there, or has one twice.
        """
        self._on_primary(_rewind, self.files, step)

    def write_recipe(self, text: str) -> None:
        self._on_primary(write_text, self.files.recipe, text)

    def write_environment(self, values: Mapping[str, Any]) -> None:
        self._on_primary(write_json, self.files.environment, values)

    def write_summary(self, values: Mapping[str, Any]) -> None:
        self._on_primary(write_json, self.files.summary, values)

    def append_step(self, record: StepRecord, samples: int) -> None:
        """Write one line of metrics, the first `samples` judged groups, and what the probes found."""
        self._on_primary(_append_step, self.files, record, samples)

    def append_evaluation(self, result: EvalResult) -> None:
        self._on_primary(append_lines, self.files.evaluations, [result.to_json()])
        self._evaluations.append(result)

    def save_stage(self, adapters: AdapterStack, name: str, base_id: str) -> None:
        """Write the adapter that stage `name` trained."""
        self._on_primary(save.save_stage, adapters, name, self.files.adapters / name, base_id)

    def save_policy(self, adapters: AdapterStack, base_id: str) -> None:
        """Write the one adapter that equals all stages."""
        self._on_primary(save.save_policy, adapters, self.files.adapter, base_id)

    def save_checkpoint(self, position: Position, adapters: AdapterStack, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint of `position`; see `Checkpoints.save`."""
        self._on_primary(self._checkpoints.save, position, adapters, optimizer)

    @contextmanager
    def rescue(self, position: Position, adapters: AdapterStack, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Save a checkpoint when the enclosed work, which must not touch the adapters, fails."""
        try:
            yield
        except Exception:
            if position.step:
                with suppress(OSError, PrerlkitError):  # what failed first is what a person should read
                    self.save_checkpoint(position, adapters, optimizer)
            raise

    @property
    def evaluations(self) -> tuple[EvalResult, ...]:
        """Every evaluation so far, those of the run before a resume included."""
        return tuple(self._evaluations)

    def restore_evaluations(self, results: Sequence[EvalResult]) -> None:
        """Remember what the primary process read with `read_evaluations`."""
        self._evaluations = list(results)

    def best_step(self) -> int | None:
        """Return the step of the best evaluation since training began (the first of equals), or None."""
        scores = {r.step: score for r in reversed(self._evaluations) if r.step and (score := r.score) is not None}
        return max(sorted(scores), key=lambda step: scores[step], default=None)

    def read_evaluations(self) -> list[EvalResult]:
        return [EvalResult.from_json(line) for line in read_lines(self.files.evaluations)]

    def read_history(self) -> list[tuple[str, Mapping[str, float]]]:
        """Return (stage, metrics) of each step, in order."""
        place = (STEP.name, STAGE.name)
        lines = read_metrics(self.files.metrics)
        return [(line[STAGE.name], {k: v for k, v in line.items() if k not in place}) for line in lines]

    def newest_checkpoint(self, report: Callable[[str], None]) -> Checkpoint | None:
        """See `checkpoints.newest_whole`."""
        return newest_whole(self.files.checkpoints, report)


def _check(files: RunFiles, existing: Existing) -> None:
    lock.refuse_if_held(files.path)
    occupied = files.path.exists() and (not files.path.is_dir() or bool(_content(files.path)))
    if existing == "resume" and occupied and not files.recipe.is_file():
        raise UsageError(
            f"{files.path} is not a run (no recipe.yaml), so there is nothing to resume.",
            "Choose the run's folder, or another --output.",
        )
    if existing == "refuse" and occupied:
        raise UsageError(
            f"{files.path} exists and is not empty.",
            "Add --resume to continue the run, --overwrite to start from scratch there, or choose another --output.",
        )
    if existing == "overwrite" and occupied and not (files.recipe.is_file() or files.metrics.is_file()):
        raise UsageError(
            f"{files.path} does not look like a run (no recipe.yaml), so --overwrite will not delete it.",
            "Choose another --output, or delete it yourself.",
        )


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != lock.NAME and not is_leftover(path)]


def _create(files: RunFiles, existing: Existing) -> None:
    if existing == "overwrite":
        for path in _content(files.path):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for folder in (files.path, files.adapters, files.checkpoints):
        remove_leftovers(folder)


def _rewind(files: RunFiles, step: int) -> None:
    for path in (files.metrics, files.samples, files.probes, files.evaluations):
        if path.exists():
            rewrite_lines(path, [line for line in read_lines(path) if line.get("step", step + 1) <= step])
    found = [line.get("step") for line in read_lines(files.metrics)]
    if found != list(range(1, step + 1)):
        wrong = next(n for n in range(1, max(len(found), step) + 1) if found[n - 1 : n] != [n])
        raise PrerlkitError(
            f"{files.metrics} is damaged: line {wrong} is not step {wrong}, and the checkpoint is at step {step}.",
            "Restore it from a copy, or start from scratch with --overwrite.",
        )


def _append_step(files: RunFiles, record: StepRecord, samples: int) -> None:
    place = {"step": record.step, "stage": record.stage}
    append_lines(files.samples, [{**place, **group_line(group)} for group in record.groups[:samples]])
    if record.details:
        append_lines(files.probes, [{**place, **record.details}])
    append_lines(files.metrics, [{**place, **record.metrics}])
