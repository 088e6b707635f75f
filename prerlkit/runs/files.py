"""Names of the files in a run folder (docs/run-folder.md)."""

from __future__ import annotations

import json
import shlex
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


def resume_command(folder: Path) -> str:
    """Return the command that continues the run in `folder`."""
    return f"prerlkit resume {shlex.quote(str(folder))}"


def recipe_folder(run: Path) -> Path | None:
    """Return the folder of a run's recipe, which relative data paths and plugins start from."""
    try:
        folder = json.loads(RunFiles(run).environment.read_text(encoding="utf-8"))["recipe_folder"]
        return Path(folder) if folder else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # then only absolute paths, and those below the working directory, are found
