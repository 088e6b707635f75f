"""The difference of two groups prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prerlkit.compare.groups import RunGroup, at
from prerlkit.evaluation import estimates
from prerlkit.evaluation.estimates import Difference
from prerlkit.runs.run import Run


@dataclass(frozen=True, slots=True)
class ByPrompt:
    """A group against the baseline, prompt by prompt, at the last evaluation that all of their runs have at one step.

    Attributes:
        seeds: those that both have; a prompt's pass rate is its mean over them.
        difference: mean over prompts; the bootstrap resamples prompts and takes the seeds as they are.
    """

    group: str
    step: int
    seeds: tuple[int, ...]
    difference: Difference


def compare_by_prompt(base: RunGroup, own: RunGroup) -> ByPrompt | None:
    """None where seeds, evaluations at the same step, or single prompts are not there, or the data are not the same."""
    pairs = [(run, own.by_seed[seed]) for seed, run in base.by_seed.items() if seed in own.by_seed]
    keys = ("data", "verifiers", "reward")
    if not pairs or any(at(a.recipe, key) != at(b.recipe, key) for a, b in pairs for key in keys):
        return None
    evaluated = [tuple(map(_prompts_by_step, pair)) for pair in pairs]
    steps = set.intersection(*(set(one) for pair in evaluated for one in pair))
    if not steps:
        return None
    step = max(steps)
    sides = []
    for side in (0, 1):
        values: dict[str, list[float]] = {}
        for pair in evaluated:
            for prompt, value in pair[side][step].items():
                if prompt in pair[1 - side][step]:
                    values.setdefault(prompt, []).append(value)
        sides.append({prompt: sum(passed) / len(passed) for prompt, passed in values.items()})
    difference = estimates.difference(*sides)
    return ByPrompt(own.label, step, tuple(run.seed for run, _ in pairs), difference) if difference else None


def _prompts_by_step(run: Run) -> dict[int, Mapping[str, float]]:
    lines = reversed(run.evaluations)  # the first of equals counts, as everywhere
    return {int(line["step"]): line["by_prompt"] for line in lines if line.get("by_prompt")}
