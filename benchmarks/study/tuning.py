"""Which learning rates the part `tuning` found for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.study.parts import PARTS, Part
from prerlkit.errors import UsageError
from prerlkit.runs.run import Run

LAST = 5
"""Steps whose mean reward decides between equal accuracies."""


def finished(part: Part, folder: Path) -> dict[str, list[Run]]:
    """The completed runs of each arm, by seed; an arm without one is absent.

    Args:
        folder: of the part's sweep on a task.
    """
    found: dict[str, list[Run]] = {}
    for arm in part.arms:
        for seed in part.seeds:
            place = folder / arm.name / f"seed-{seed}"
            if (place / "recipe.yaml").is_file() and (run := Run.open(place)).state == "completed":
                found.setdefault(arm.name, []).append(run)
    return found


def best(runs: Mapping[str, Sequence[Run]]) -> dict[str, tuple[str, ...]]:
    """By method, the settings of its best arm: greedy accuracy at the end, then the reward of the last steps.

    Args:
        runs: the tuning part's, as `finished` gives them.

    Raises:
        UsageError: a run of it isn't finished.
    """
    part = PARTS["tuning"]
    scores: dict[str, list[tuple[tuple[float, float], tuple[str, ...]]]] = {}
    for arm in part.arms:
        own = runs.get(arm.name, ())
        if len(own) < len(part.seeds):
            raise UsageError(
                f"The learning rates are not tuned yet: a run of {arm.name} is not finished.",
                "Run the part `tuning` first: python -m benchmarks.study run tuning",
            )
        scores.setdefault(arm.method, []).append((score(own), arm.settings))
    return {method: max(own)[1] for method, own in scores.items()}


def final_accuracy(run: Run) -> float:
    """Of the last evaluation, 0 to 1."""
    return float(run.evaluations[-1]["accuracy"]["value"])


def score(runs: Sequence[Run]) -> tuple[float, float]:
    """Mean greedy accuracy of the last evaluation, mean reward of the last steps."""
    accuracy = [final_accuracy(run) for run in runs]
    reward = [sum(step["reward/mean"] for step in run.steps[-LAST:]) / len(run.steps[-LAST:]) for run in runs]
    return sum(accuracy) / len(runs), sum(reward) / len(runs)
