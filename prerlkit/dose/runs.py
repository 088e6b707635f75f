"""The runs of a dose curve: the first stage of a recipe alone, one run for each rate, evaluated at a grid of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import UsageError
from prerlkit.launch import Launch, run_recipe
from prerlkit.recipe.load import dump
from prerlkit.recipe.probes import Guard
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import read_json
from prerlkit.train.callbacks import Callback

FACTORS = (1 / 3, 1.0, 3.0, 10.0)
"""Rates that are tried by default, as multiples of the recipe's."""


@dataclass(frozen=True, slots=True)
class DoseGrid:
    """What is tried.

    Attributes:
        rates: learning rates, one run for each.
        steps: of each run.
        every: steps between two evaluations.
        prompts: held-out prompts of an evaluation.
        samples: for each of them.
    """

    rates: tuple[float, ...]
    steps: int
    every: int
    prompts: int
    samples: int

    @property
    def evaluations(self) -> int:
        """How many evaluations all runs make together."""
        return 1 + len(self.rates) * -(-self.steps // self.every)


def default_rates(recipe: Recipe) -> tuple[float, ...]:
    """Return the first stage's rate, and about a third, 3 and 10 times of it, rounded to one digit."""
    rate = recipe.stages[0].learning_rate
    return tuple(rate if factor == 1 else float(f"{factor * rate:.1g}") for factor in FACTORS)


def most_steps(recipe: Recipe, asked: int | None) -> int:
    """Return how many steps each run has: `asked`, or those of the first stage.

    Raises:
        UsageError: the first stage is taken from another run, is supervised, or has no steps.
    """
    stage = recipe.stages[0]
    if stage.source is not None:
        raise UsageError(
            f'stage "{stage.name}" is taken from {stage.source} (`from`): it has no dose to find.',
            "Remove `from` from the recipe, and give the stage its steps.",
        )
    if stage.demonstrations is not None:
        raise UsageError(
            f'stage "{stage.name}" learns from demonstrations: a dose is measured on a stage that samples, because '
            "only its guard can end a collapse.",
            "Give a recipe whose first stage samples.",
        )
    if not (asked or stage.steps):
        raise UsageError(f'stage "{stage.name}" has 0 steps: it has no dose to find.', "Give --steps.")
    return asked or stage.steps


def folder_of(rate: float) -> str:
    """Return the name of the run folder of a rate."""
    return f"rate-{rate:g}"


def dose_recipe(recipe: Recipe, grid: DoseGrid, rate: float) -> Recipe:
    """Return `recipe` with its first stage alone, at `rate`, evaluated with samples at the grid's steps.

    A rule to end the stage earlier is left out. A guard ends a run whose policy collapses. The policy before the first
    step is the same for all rates, so only the first run evaluates it.
    """
    first = recipe.stages[0]
    stage = first.model_copy(
        update={"learning_rate": rate, "steps": grid.steps, "until": None, "guard": first.guard or Guard()}
    )
    evaluation = recipe.evaluation.model_copy(
        update={
            "when": ("before", "after") if rate == grid.rates[0] else ("after",),
            "every": grid.every,
            "prompts": grid.prompts,
            "greedy": False,
            "samples": grid.samples,
            "pass_at": tuple(sorted({1, grid.samples})),
        }
    )
    return recipe.model_copy(update={"stages": (stage,), "evaluation": evaluation})


def run_doses(
    recipe: Recipe,
    recipe_folder: Path | None,
    grid: DoseGrid,
    folder: Path,
    callback: Callable[[], Callback],
    *,
    trust: bool = False,
    on_run: Callable[[float, str], None] = lambda rate, state: None,
) -> bool:
    """Run the rates one after the other in this process. Finished runs are skipped, unfinished ones resumed.

    Args:
        callback: makes the callback of each run.
        trust: allow the code that the recipe brings; see `prerlkit.trust`.
        on_run: called with a rate and `done before`, `running` or the run's exit reason.

    Returns:
        Whether all are completed; False after Ctrl-C, which saves the run under way.
    """
    for rate in grid.rates:
        output, own = folder / folder_of(rate), dose_recipe(recipe, grid, rate)
        if _completed(output, own):
            on_run(rate, "done before")
            continue
        on_run(rate, "running")
        summary = run_recipe(Launch(own, recipe_folder, output, "resume", trust=trust), callback())
        on_run(rate, summary.exit_reason)
        if summary.exit_reason != "completed":
            return False
    return True


def _completed(output: Path, recipe: Recipe) -> bool:
    files = RunFiles(output)
    if not files.recipe.is_file() or read_json(files.summary).get("exit_reason") != "completed":
        return False
    return files.recipe.read_text(encoding="utf-8") == dump(recipe)


def problems(recipe: Recipe) -> Sequence[str]:
    """Return what a person should know about a dose curve of this recipe."""
    schedule = recipe.stages[0].schedule.kind
    found = []
    if schedule != "constant":
        found.append(f"the {schedule} schedule is over the steps of the longest dose, so fewer steps alone differ")
    return found
