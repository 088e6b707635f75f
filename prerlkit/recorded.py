"""A run read back from its folder (docs/run-folder.md), whatever became of it: what reports and comparisons look at."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prerlkit.errors import UsageError
from prerlkit.metrics.metric import with_current_names
from prerlkit.recipe.load import plain, read_yaml
from prerlkit.train import lock
from prerlkit.train.jsonl import read_json, read_lines

State = Literal["completed", "stopped", "failed", "running", "broken off"]
"""As the summary says; `running`: somebody holds the folder; `broken off`: no summary, and nobody does (killed)."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a run has written so far. Plain values: a folder of an older version is read as it is.

    Attributes:
        folder: the run folder.
        recipe: the resolved recipe as a mapping.
        environment, summary: of the files of those names; empty where there is none.
        steps: metrics.jsonl, in order (docs/metrics.md).
        evaluations: evaluations.jsonl, in order.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    evaluations: tuple[Mapping[str, Any], ...]
    state: State

    @property
    def name(self) -> str:
        return str(self.recipe.get("name", self.folder.name))

    @property
    def seed(self) -> int:
        return int(self.recipe.get("seed", 0))

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that have steps, in order."""
        return tuple(dict.fromkeys(step["stage"] for step in self.steps))

    @property
    def probes(self) -> tuple[Mapping[str, Any], ...]:
        """Lines of probes.jsonl (docs/probes.md); empty where the run had none."""
        return tuple(read_lines(self.folder / "probes.jsonl"))

    def samples(self) -> Iterator[Mapping[str, Any]]:
        """Lines of samples.jsonl one by one, up to a torn one: the file may be larger than memory likes."""
        file = self.folder / "samples.jsonl"
        if not file.is_file():
            return
        with file.open(encoding="utf-8", errors="replace") as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    return
                if not isinstance(line, dict):
                    return
                yield line


def read_run(path: Path) -> RecordedRun:
    """The run in the folder `path`.

    Raises:
        UsageError: it is not a run folder.
        PrerlkitError: one of its JSON files is damaged.
    """
    recipe = path / "recipe.yaml"
    if not recipe.is_file():
        raise UsageError(
            f"{path} is not a run folder: there is no recipe.yaml in it.",
            "Name the folder that `prerlkit run` wrote (its --output).",
        )
    summary = read_json(path / "summary.json")
    return RecordedRun(
        path,
        plain(read_yaml(recipe)),
        read_json(path / "environment.json"),
        summary,
        tuple(map(with_current_names, _placed(path / "metrics.jsonl", "stage"))),
        _placed(path / "evaluations.jsonl", "name"),
        _state(path, summary),
    )


def _placed(path: Path, name: str) -> tuple[Mapping[str, Any], ...]:
    """Lines of a jsonl file up to one that doesn't say its step and `name`: what is behind it can't be placed."""
    return tuple(
        itertools.takewhile(
            lambda line: isinstance(line.get("step"), int) and isinstance(line.get(name), str), read_lines(path)
        )
    )


def _state(path: Path, summary: Mapping[str, Any]) -> State:
    if lock.held(path):
        return "running"
    reason = str(summary.get("exit_reason", ""))
    if reason.startswith("failed"):
        return "failed"
    if reason in ("completed", "stopped"):
        return "completed" if reason == "completed" else "stopped"
    return "broken off"
