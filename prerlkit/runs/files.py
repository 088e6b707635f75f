"""Names of the files in a run folder (docs/run-folder.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Existing = Literal["refuse", "resume", "overwrite"]
"""What to do with a run folder that is not empty."""


class RunFiles:
    """Paths in the run folder `path`. Nothing is read.

    Attributes:
        adapters: one folder for each stage.
        adapter: all stages as one adapter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.environment = path / "environment.json"
        self.summary = path / "summary.json"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.probes = path / "probes.jsonl"
        self.evaluations = path / "evaluations.jsonl"
        self.evaluation_part = path / "evaluation.part.json"
        self.adapters = path / "adapters"
        self.adapter = path / "adapter"
        self.checkpoints = path / "checkpoints"
        self.checksums = path / "checksums.json"
