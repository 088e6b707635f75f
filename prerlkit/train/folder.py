"""The run folder: a contract that other tools read (docs/run-folder.md)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.evaluation.result import EvalResult
from prerlkit.files import is_leftover, remove_leftovers, write_json, write_text
from prerlkit.metrics.catalogue import STAGE, STEP
from prerlkit.metrics.metric import with_current_names
from prerlkit.policy import save
from prerlkit.policy.adapters import AdapterStack
from prerlkit.train import lock
from prerlkit.train.checkpoint import Checkpoint
from prerlkit.train.checkpoints import Checkpoints, newest_whole
from prerlkit.train.jsonl import append_lines, read_lines, rewrite_lines
from prerlkit.types import Group, StepRecord

Existing = Literal["refuse", "resume", "overwrite"]


class RunFolder:
    """Paths and appends of one run. Nothing here knows what the numbers mean.

    Args:
        path: `<output>`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.probes = path / "probes.jsonl"
        self.evaluations = path / "evaluations.jsonl"
        self.adapters = path / "adapters"
        self.adapter = path / "adapter"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.environment = path / "environment.json"

    def check(self, existing: Existing) -> None:
        """Whether the run may use the folder. Creates and deletes nothing.

        Raises:
            UsageError: it is not empty and nothing was said about that, or it can't be resumed or overwritten.
        """
        lock.refuse_if_held(self.path)
        if existing == "resume" and self._occupied() and not self.recipe.is_file():
            raise UsageError(
                f"{self.path} is not a run (no recipe.yaml), so there is nothing to go on with.",
                "Choose the run's folder, or another --output.",
            )
        if existing == "refuse" and self._occupied():
            raise UsageError(
                f"{self.path} exists and is not empty.",
                "Add --resume to go on with it, --overwrite to start anew there, or choose another --output.",
            )
        if existing == "overwrite" and self._occupied() and not (self.recipe.is_file() or self.metrics.is_file()):
            raise UsageError(
                f"{self.path} does not look like a run (no recipe.yaml), so --overwrite will not delete it.",
                "Choose another --output, or delete it yourself.",
            )

    def create(self, existing: Existing) -> None:
        """Make the folder ready, emptied when overwriting. Call it with the folder locked (`lock.locked`)."""
        if existing == "overwrite":
            for path in self._content():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for place in (self.path, self.adapters, self.checkpoints):
            remove_leftovers(place)

    def _content(self) -> list[Path]:
        return [path for path in self.path.iterdir() if path.name != lock.NAME and not is_leftover(path)]

    def _occupied(self) -> bool:
        return self.path.exists() and (not self.path.is_dir() or bool(self._content()))

    def write_recipe(self, text: str) -> None:
        write_text(self.recipe, text)

    def write_environment(self, values: Mapping[str, Any]) -> None:
        write_json(self.environment, values)

    def write_summary(self, values: Mapping[str, Any]) -> None:
        write_json(self.summary, values)

    def append_step(self, record: StepRecord, samples: int) -> None:
        """One line of metrics, the first `samples` groups with their completions and verdicts, and probes' details."""
        place = {"step": record.step, "stage": record.stage}
        append_lines(self.samples, [_sample_line(record, group) for group in record.groups[:samples]])
        if record.details:
            append_lines(self.probes, [{**place, **record.details}])
        append_lines(self.metrics, [{**place, **record.metrics}])

    def append_evaluation(self, result: EvalResult) -> None:
        append_lines(self.evaluations, [result.to_json()])

    def read_evaluations(self) -> list[EvalResult]:
        return [EvalResult.from_json(line) for line in read_lines(self.evaluations)]

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder, which is made if it is missing; see `lock.locked`."""
        return lock.locked(self.path)

    def store(self, keep: int, origin: Mapping[str, Any]) -> Checkpoints:
        """Where checkpoints go."""
        return Checkpoints(self.checkpoints, keep=keep, best=self.best_step, origin=origin)

    def newest_checkpoint(self, report: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
        """See `checkpoints.newest_whole`."""
        return newest_whole(self.checkpoints, report)

    def save_stage(self, adapters: AdapterStack, name: str, base_id: str) -> None:
        save.save_stage(adapters, name, self.adapters / name, base_id)

    def save_policy(self, adapters: AdapterStack, base_id: str) -> None:
        save.save_policy(adapters, self.adapter, base_id)

    def adopt(self, results: Sequence[EvalResult]) -> None:
        """Take over what another process read. Nothing to do here: it is in the files."""

    def best_step(self) -> int | None:
        """The step of the best evaluation since training began (the first of equals); None before there is one."""
        scores = {r.step: score for r in reversed(self.read_evaluations()) if r.step and (score := r.score) is not None}
        return max(sorted(scores), key=lambda step: scores[step], default=None)

    def history(self) -> list[tuple[str, Mapping[str, float]]]:
        """(stage, metrics) of each step, in order."""
        place = (STEP.name, STAGE.name)
        lines = map(with_current_names, read_lines(self.metrics))
        return [(line[STAGE.name], {k: v for k, v in line.items() if k not in place}) for line in lines]

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`, before a run goes on from there.

        Raises:
            PrerlkitError: metrics.jsonl lacks a step up to there, or has one twice.
        """
        for path in (self.metrics, self.samples, self.probes, self.evaluations):
            if path.exists():
                rewrite_lines(path, [line for line in read_lines(path) if line.get("step", step + 1) <= step])
        found = [line.get("step") for line in read_lines(self.metrics)]
        if found != list(range(1, step + 1)):
            wrong = next(n for n in range(1, max(len(found), step) + 1) if found[n - 1 : n] != [n])
            raise PrerlkitError(
                f"{self.metrics} is damaged: line {wrong} is not step {wrong}, and the checkpoint is at step {step}.",
                "Put back a copy of it, or start anew with --overwrite.",
            )


def _sample_line(record: StepRecord, group: Group) -> dict[str, Any]:
    return {"step": record.step, "stage": record.stage, **group_line(group)}


def group_line(group: Group) -> dict[str, Any]:
    """A judged group as it stands in a file of samples."""
    return {
        "prompt_id": group.prompt.id,
        "prompt": group.prompt.text,
        "answer": group.prompt.answer,
        "completions": [
            {
                "text": completion.text,
                "tokens": len(completion.token_ids),
                "truncated": completion.truncated,
                "logprob": sum(completion.logprobs),
                "score": verdict.score,
                "passed": verdict.passed,
                "reason": verdict.reason,
                "details": dict(verdict.details),
            }
            for completion, verdict in zip(group.completions, group.verdicts, strict=True)
        ],
    }
