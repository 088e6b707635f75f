"""The run folder: a contract that other tools read (docs/run-folder.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from prerlkit.errors import UsageError
from prerlkit.files import write_json, write_text
from prerlkit.train.evaluate import EvalResult
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
        self.evaluations = path / "evaluations.jsonl"
        self.adapters = path / "adapters"
        self.adapter = path / "adapter"
        self.checkpoint = path / "checkpoint"
        self.summary = path / "summary.json"
        self.environment = path / "environment.json"

    def check(self, existing: Existing) -> None:
        """Whether the run may use the folder. Creates and deletes nothing.

        Raises:
            UsageError: it is not empty and nothing was said about that, or it can't be resumed or overwritten.
        """
        if existing == "resume" and not self.checkpoint.is_dir():
            raise UsageError(
                f"{self.path} has no checkpoint to resume from.",
                "Leave --resume out, or use --overwrite to start anew.",
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
        """Make the folder, emptied first when overwriting."""
        self.check(existing)
        if existing == "overwrite" and self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    def _occupied(self) -> bool:
        return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))

    def write_recipe(self, text: str) -> None:
        write_text(self.recipe, text)

    def write_environment(self, values: Mapping[str, Any]) -> None:
        write_json(self.environment, values)

    def write_summary(self, values: Mapping[str, Any]) -> None:
        write_json(self.summary, values)

    def append_step(self, record: StepRecord, samples: int) -> None:
        """One line of metrics, and the first `samples` groups with their completions and verdicts."""
        line = {"step": record.step, "stage": record.stage, **record.metrics}
        _append(self.samples, [_sample_line(record, group) for group in record.groups[:samples]])
        _append(self.metrics, [line])

    def append_evaluation(self, result: EvalResult) -> None:
        _append(self.evaluations, [result.to_json()])

    def read_evaluations(self) -> list[EvalResult]:
        return [EvalResult.from_json(line) for line in _read(self.evaluations)]

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`, before a run goes on from there."""
        for path in (self.metrics, self.samples, self.evaluations):
            if path.exists():
                kept = [line for line in _read(path) if line["step"] <= step]
                write_text(path, "".join(_line(x) for x in kept))


def _sample_line(record: StepRecord, group: Group) -> dict[str, Any]:
    return {
        "step": record.step,
        "stage": record.stage,
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


def _line(value: Any) -> str:
    # Lone surrogates, which models do write, are escaped so that the file is always valid UTF-8.
    return json.dumps(value, ensure_ascii=True) + "\n"


def _append(path: Path, values: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(_line(v) for v in values))


def _read(path: Path) -> list[dict[str, Any]]:
    """Lines of a jsonl file; a torn last line, left by a killed process, is dropped."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
