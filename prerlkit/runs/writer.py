"""The one writer of a run folder. Other tools read what it writes: the files are a contract (docs/run-folder.md)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec

import torch

from prerlkit.errors import PrerlkitError
from prerlkit.evaluation.result import EvalResult
from prerlkit.files import remove_leftovers, write_json, write_text
from prerlkit.metrics.catalogue import STAGE, STEP
from prerlkit.policy import save
from prerlkit.policy.adapters import AdapterStack
from prerlkit.runs import checksums, lock
from prerlkit.runs.checkpoint import Checkpoint, Position, SourceState
from prerlkit.runs.checkpoints import Checkpoints, newest_whole
from prerlkit.runs.existing import check_content, check_folder, content
from prerlkit.runs.files import Existing, RunFiles
from prerlkit.runs.jsonl import append_lines, group_line, keep_lines, read_json, read_lines, read_metrics
from prerlkit.runs.state import RUNNING
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
        self._lock: lock.Lock | None = None

    def _on_primary(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        if self._primary:
            if self._lock:
                self._lock.check()
            work(*args, **kwargs)

    def _publish(self, place: Path, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do the work that writes the file or folder `place`, then write down its checksums."""
        self._on_primary(work, *args, **kwargs)
        self._on_primary(checksums.add, self.files, place)

    def check(self, existing: Existing) -> None:
        """Check that the run may use the folder. Creates and deletes nothing.

        Raises:
            UsageError: it is not empty and nothing was said about that, or it can't be resumed or overwritten.
        """
        self._on_primary(check_folder, self.files, existing)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is made if it is missing; see `lock.locked`.

        Every method that changes the folder then raises PrerlkitError if the folder was deleted, moved or replaced.
        """
        with ExitStack() as held:
            self._on_primary(self._take_lock, held)
            try:
                yield
            finally:
                self._lock = None

    def _take_lock(self, held: ExitStack) -> None:
        self._lock = held.enter_context(lock.locked(self.files.path))

    def create(self, existing: Existing, origin: Mapping[str, Any] | None = None) -> None:
        """Make the folder ready, emptied when overwriting. Call it with the folder locked.

        Args:
            origin: written into each checkpoint; see `checkpoint.save`.

        Raises:
            UsageError: as `check`: another run may have used the folder since.
        """
        self._checkpoints = Checkpoints(self.files.checkpoints, keep=self._keep, best=self.best_step, origin=origin)
        self._on_primary(_create, self.files, existing)

    def begin(self, step: int, name: str, seed: int, report: Callable[[str], None]) -> None:
        """Mark the run as running and forget what was written after `step`, before it begins or continues there.

        Args:
            name, seed: of the recipe.
            report: receives a sentence about each damaged file. It is kept under another name.

        Raises:
            PrerlkitError: metrics.jsonl lacks a step up to there, or has one twice. Nothing is changed then.
        """
        self._on_primary(_begin, self.files, step, {"name": name, "seed": seed, "exit_reason": RUNNING}, report)

    def write_recipe(self, text: str) -> None:
        self._publish(self.files.recipe, write_text, self.files.recipe, text)

    def write_environment(self, values: Mapping[str, Any]) -> None:
        self._publish(self.files.environment, write_json, self.files.environment, values)

    def write_summary(self, values: Mapping[str, Any]) -> None:
        self._on_primary(write_json, self.files.summary, values)

    def append_step(self, record: StepRecord, samples: int) -> None:
        """Write one line of metrics, the first `samples` judged groups, and what the probes found."""
        self._on_primary(_append_step, self.files, record, samples)

    def append_evaluation(self, result: EvalResult) -> None:
        self._on_primary(append_lines, self.files.evaluations, [result.to_json()], checked=True)
        self._on_primary(self.files.evaluation_part.unlink, missing_ok=True)
        self._evaluations.append(result)

    def write_evaluation_part(self, values: Mapping[str, Any]) -> None:
        """Write what an interrupted evaluation has judged; see `train.evaluation_part`."""
        self._on_primary(write_json, self.files.evaluation_part, values)

    def read_evaluation_part(self) -> dict[str, Any]:
        """Return what an interrupted evaluation has judged; empty without one."""
        return read_json(self.files.evaluation_part)

    def save_stage(self, adapters: AdapterStack, name: str, base_id: str) -> None:
        """Write the adapter that stage `name` trained."""
        place = self.files.adapters / name
        self._publish(place, save.save_stage, adapters, name, place, base_id)

    def save_policy(self, adapters: AdapterStack, base_id: str) -> None:
        """Write the one adapter that equals all stages."""
        self._publish(self.files.adapter, save.save_policy, adapters, self.files.adapter, base_id)

    def save_checkpoint(
        self,
        position: Position,
        adapters: AdapterStack,
        optimizer: torch.optim.Optimizer,
        source: SourceState | None = None,
    ) -> None:
        """Write the checkpoint of `position`; see `Checkpoints.save`."""
        self._on_primary(self._checkpoints.save, position, adapters, optimizer, source)

    @contextmanager
    def rescue(self, position: Position, save: Callable[[], None]) -> Iterator[None]:
        """Save the checkpoint of `position` when the enclosed work, which must not touch the adapters, fails."""
        try:
            yield
        except Exception:
            if position.step:
                with suppress(OSError, PrerlkitError):  # what failed first is what a person should read
                    save()
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


def _create(files: RunFiles, existing: Existing) -> None:
    check_content(files, existing)
    if existing == "overwrite":
        # Killed in the middle, the folder is neither a completed run nor something else than a run.
        order = {files.summary: 0, files.recipe: 2}
        for path in sorted(content(files.path), key=lambda path: order.get(path, 1)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for folder in (files.path, files.adapters, files.checkpoints):
        remove_leftovers(folder)


def _begin(files: RunFiles, step: int, summary: Mapping[str, Any], report: Callable[[str], None]) -> None:
    found = [number for line in read_lines(files.metrics) if not (number := line.get("step", 0)) > step]
    if found != list(range(1, step + 1)):
        wrong = next(n for n in range(1, max(len(found), step) + 1) if found[n - 1 : n] != [n])
        raise PrerlkitError(
            f"{files.metrics} is damaged: line {wrong} is not step {wrong}, and the checkpoint is at step {step}.",
            "Restore it from a copy, or start from scratch with --overwrite.",
        )
    write_json(files.summary, summary)
    if read_json(files.evaluation_part).get("step") != step:  # of a policy that is trained again
        files.evaluation_part.unlink(missing_ok=True)
    for path in (files.metrics, files.samples, files.probes, files.evaluations):
        keep_lines(path, lambda line: int(line["step"]) <= step, report)


def _append_step(files: RunFiles, record: StepRecord, samples: int) -> None:
    place = {"step": record.step, "stage": record.stage}
    append_lines(files.samples, [{**place, **group_line(group)} for group in record.groups[:samples]])
    if record.details:
        append_lines(files.probes, [{**place, **record.details}])
    append_lines(files.metrics, [{**place, **record.metrics}], checked=True)
