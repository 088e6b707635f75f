"""Two real steps of each stage, and from the second of them the hours of the whole run on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.metrics import catalogue
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.run import Run
from prerlkit.train.callbacks import Callback, StopSignal
from prerlkit.train.run import run

STEPS = 2


@dataclass(frozen=True, slots=True)
class TwoSteps:
    """What two steps a stage took.

    Attributes:
        step_seconds: by stage, of its second step.
        hours: of all steps, evaluations and measurements of the recipe's probes, if the rest is like them.
        peak_memory: bytes; resident on a CPU, allocated on CUDA.
    """

    step_seconds: dict[str, float]
    hours: float
    peak_memory: int


def probe(recipe: Recipe, recipe_folder: Path | None, callback: Callback) -> TwoSteps:
    """Run two steps of each stage into a folder that is thrown away."""
    short = shortened(recipe)
    with tempfile.TemporaryDirectory(prefix="prerlkit-probe-") as name:
        folder = Path(name) / "run"
        run(short, folder, recipe_folder=recipe_folder, callback=callback, stop=StopSignal())
        steps = Run.open(folder).steps
    return extrapolate(recipe, steps)


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with two steps a stage and no evaluation."""
    data = recipe.model_dump(mode="json")
    for stage in data["stages"]:
        stage["steps"] = min(STEPS, stage["steps"])
    data["evaluation"] = {**data["evaluation"], "when": [], "every": 0}
    data["output"] = {**data["output"], "checkpoint_every": 0}
    return Recipe.model_validate(data)


def extrapolate(recipe: Recipe, lines: Sequence[Mapping[str, Any]]) -> TwoSteps:
    """Hours from the metrics of a shortened run: the last step of each stage, the first one warms up."""
    last = {str(line["stage"]): line for line in lines}
    seconds = {name: float(line[catalogue.STEP_SECONDS.name]) for name, line in last.items()}
    total = sum(stage.steps * seconds.get(stage.name, 0.0) for stage in recipe.stages) + _measuring(recipe, lines)
    sampling = [line for line in last.values() if catalogue.TOKENS_GENERATED.name in line]  # no supervised stage
    generated = sum(float(line[catalogue.TOKENS_GENERATED.name]) for line in sampling)
    sampled = sum(float(line[catalogue.ROLLOUT_SECONDS.name]) for line in sampling)
    if generated and sampled:
        mean = sum(float(line[catalogue.COMPLETION_LENGTH.name]) for line in sampling) / len(sampling)
        completions = recipe.evaluation.prompts * (recipe.evaluation.greedy + recipe.evaluation.samples)
        total += evaluations(recipe) * completions * mean * sampled / generated
    peak = max((float(line[catalogue.PEAK_MEMORY.name]) for line in lines), default=0.0)
    return TwoSteps(seconds, total / 3600, int(peak))


def _measuring(recipe: Recipe, lines: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of all measurements of the recipe's probes: each stage's first step, and every `every`-th after it."""
    total = 0.0
    for stage in recipe.stages:
        for choice in recipe.probes:
            name = catalogue.PROBE_SECONDS.of(choice.label)
            took = [float(line[name]) for line in lines if line["stage"] == stage.name and name in line]
            total += -(-stage.steps // choice.every) * took[-1] if took else 0.0
    return total


def evaluations(recipe: Recipe) -> int:
    """How many evaluations the recipe makes."""
    when, every = recipe.evaluation.when, recipe.evaluation.every
    fixed = ("before" in when) + ("after" in when) + (len(recipe.stages) - 1) * ("between" in when)
    return fixed + sum((stage.steps - 1) // every for stage in recipe.stages if every and stage.steps)
