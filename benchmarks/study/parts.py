"""What is run: arms (a recipe with settings, under a name) for each part and task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prerlkit.sweep.grid import Point, points

TASKS = {"sums": "quickstart", "reason": "reason"}
"""Task: what its two recipes' names begin with."""
RATES = ("1e-4", "3e-4", "1e-3")
WARMUP_RATES = ("1e-5", "1e-4")
PROBES = "[{name: alignment, every: 5}, thoughts, exploration, {name: drift, every: 5}]"
"""Probes change no run (docs/probes.md) and their time is not in `time/step`, but it is in the hours of the study."""
CHEAP_PROBES = "[thoughts, exploration]"
"""Without the quarter of a run's time that alignment and drift take; the part `main` has answered those."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that is compared with others.

    Attributes:
        name: of the arm, of its recipe, and of its folder in the sweep.
        method: grpo or dsrl, the recipe that it starts from.
        settings: `KEY=VALUE`, on top of the method's tuned learning rates.
    """

    name: str
    method: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A question, asked of every task.

    Attributes:
        tuned: whether the learning rates are those that the part `tuning` found.
        probes: a recipe's.
    """

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    tuned: bool = True
    probes: str = PROBES


def _rl(rate: str) -> str:
    return f"stages.rl.learning_rate={rate}"


def _grid() -> tuple[Arm, ...]:
    """Six runs for each method: equal effort. GRPO has one learning rate, so it gets a finer grid of it."""
    grpo = [Arm(f"grpo-{rate}", "grpo", (_rl(rate),)) for rate in ("5e-5", "1e-4", "2e-4", "3e-4", "6e-4", "1e-3")]
    dsrl = [
        Arm(f"dsrl-{warmup}-{rate}", "dsrl", (f"stages.warmup.learning_rate={warmup}", _rl(rate)))
        for warmup in WARMUP_RATES
        for rate in RATES
    ]
    return (*grpo, *dsrl)


def _warmup(objective: str) -> tuple[str, ...]:
    return (f"stages.warmup.objective={objective}",)


def _steps(warmup: int) -> tuple[str, ...]:
    return (f"stages.warmup.steps={warmup}", f"stages.rl.steps={30 - warmup}")


PARTS = {
    part.name: part
    for part in (
        Part("tuning", _grid(), seeds=(100,), tuned=False, probes="[]"),
        Part("main", (Arm("grpo", "grpo"), Arm("dsrl", "dsrl")), seeds=(0, 1, 2, 3, 4)),
        Part(
            "objectives",
            (
                Arm("psr-prerl", "dsrl", _warmup("psr-prerl")),
                Arm("prerl", "dsrl", _warmup("prerl")),
                Arm("nsr-rl", "dsrl", _warmup("nsr-rl")),
                Arm("hybrid", "grpo", ("stages.rl.objective=[grpo, {preset: nsr-prerl, coefficient: 0.1}]",)),
            ),
            seeds=(0, 1, 2),
            probes=CHEAP_PROBES,
        ),
        Part(
            "warmup",
            tuple(Arm(f"warmup-{n}", "dsrl", _steps(n)) for n in (0, 10, 20)),
            seeds=(0, 1, 2),
            probes=CHEAP_PROBES,
        ),
        Part(
            "takeover",
            tuple(Arm(how, "dsrl", (f"stages.rl.reincarnation={how}",)) for how in ("merge", "continue")),
            seeds=(0, 1, 2),
            probes=CHEAP_PROBES,
        ),
        Part(
            "details",
            (
                Arm("constant-advantage", "dsrl", ("stages.warmup.objective.advantage=constant",)),
                Arm("start-document", "dsrl", ('model.start_token="<|endoftext|>"',)),
                Arm("start-newline", "dsrl", ('model.start_token="\\n"',)),
            ),
            seeds=(0, 1, 2),
        ),
    )
}
"""In the order in which they are run: what comes first answers most."""


def points_of(part: Part, task: str, rates: dict[str, tuple[str, ...]], extra: tuple[str, ...] = ()) -> list[Point]:
    """All runs of a part on a task, seed by seed, so that what is finished first has every arm in it.

    Args:
        rates: by method, the tuned settings.
        extra: settings of all runs, such as `rollout.prompts_per_step=4`.
    """
    found: list[Point] = []
    for seed in part.seeds:
        for arm in part.arms:
            common = (f"name={arm.name}", "evaluation.every=10", f"probes={part.probes}")
            settings = (*common, *rates.get(arm.method, ()), *arm.settings, *extra)
            (point,) = points([f"{TASKS[task]}_{arm.method}"], [seed], settings)
            found.append(replace(point, folder=Path(arm.name, f"seed-{seed}")))
    return found
