"""The run folder of every process but the first: it writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from prerlkit.evaluation.result import EvalResult
from prerlkit.policy.adapters import AdapterStack
from prerlkit.train.checkpoint import Position
from prerlkit.train.checkpoints import Checkpoints
from prerlkit.train.folder import Existing, RunFolder
from prerlkit.types import StepRecord


class Follower(RunFolder):
    """Writes nothing and remembers what it would read back. Only a resume reads the files, from a disk that is shared.

    Args:
        path: `<output>`, as in the first process.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._evaluations: list[EvalResult] = []

    def check(self, existing: Existing) -> None: ...

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def store(self, keep: int, origin: Mapping[str, Any]) -> Checkpoints:
        return _Nowhere(self.checkpoints, keep=keep, best=lambda: None)

    def create(self, existing: Existing) -> None: ...

    def write_recipe(self, text: str) -> None: ...

    def write_environment(self, values: Mapping[str, Any]) -> None: ...

    def write_summary(self, values: Mapping[str, Any]) -> None: ...

    def append_step(self, record: StepRecord, samples: int) -> None: ...

    def append_evaluation(self, result: EvalResult) -> None:
        self._evaluations.append(result)

    def read_evaluations(self) -> list[EvalResult]:
        return list(self._evaluations)

    def save_stage(self, adapters: AdapterStack, name: str, base_id: str) -> None: ...

    def save_policy(self, adapters: AdapterStack, base_id: str) -> None: ...

    def adopt(self, results: Sequence[EvalResult]) -> None:
        self._evaluations = list(results)

    def rewind(self, step: int) -> None: ...


class _Nowhere(Checkpoints):
    """The first process saves for all."""

    def save(self, position: Position, adapters: AdapterStack, optimizer: torch.optim.Optimizer) -> None: ...
