"""Names of the files in a run folder (docs/run-folder.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Existing = Literal["refuse", "resume", "overwrite"]
"""What to do with a run folder that is not empty."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Paths in the run folder `path`. Nothing is read."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def probes(self) -> Path:
        return self.path / "probes.jsonl"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def adapters(self) -> Path:
        """One folder for each stage."""
        return self.path / "adapters"

    @property
    def adapter(self) -> Path:
        """All stages as one adapter."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"
