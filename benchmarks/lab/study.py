"""The study on the laboratory: what is run, and the runs themselves, one after the other in a process for each core.

    python -m benchmarks.lab study dose       # choose the warm-ups: KL, thoughts and accuracy of one stage alone
    python -m benchmarks.lab study tuning     # the second stage's rate of every arm, with equal effort
    python -m benchmarks.lab study main       # ten seeds
    python -m benchmarks.lab tables           # docs/results.md's tables, from what has been recorded

Stop it anywhere: the same command continues. A finished run leaves its evaluations in `benchmarks/lab/records`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prerlkit.runs.run import Run

RECORDS = Path(__file__).resolve().parent / "records"
STEPS = 40
"""Of the second stage; a run without warm-up has STEPS + WARMUP of them."""
WARMUP = 24
"""Of a warm-up alone. Before a second stage a warm-up ends as soon as its KL is above KL, after STEPS at most."""
KL = 0.02
PROBES = [{"name": "drift", "every": 1, "groups": 8}]
EVALUATION = {"prompts": 128, "greedy": False, "samples": 16, "pass_at": [1, 4, 16]}


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that is compared with others.

    Attributes:
        warmup: objective of the first stage; None: there is none.
        rate: of the warm-up.
        second: learning rate of the second stage.
        changes: further keys of the recipe.
    """

    name: str
    warmup: str | Mapping[str, Any] | None = None
    rate: float = 0.0
    second: float = 0.0
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One run: an arm with a seed, or a warm-up alone."""

    part: str
    arm: str
    seed: int
    recipe: str
    overrides: Mapping[str, Any]

    @property
    def record(self) -> Path:
        return RECORDS / self.part / f"{self.arm}.jsonl"


def job(part: str, arm: Arm, seed: int, *, alone: bool = False, every: int = 8) -> Job:
    """Return the run of that arm and seed.

    Args:
        alone: its warm-up only.
        every: steps between evaluations; 0: at the stages' ends only.
    """
    second: dict[str, Any] = {"name": "rl", "objective": "grpo", "steps": STEPS, "learning_rate": arm.second}
    warmup: dict[str, Any] = {"name": "warmup", "objective": arm.warmup, "steps": WARMUP, "learning_rate": arm.rate}
    until = {"metric": "probe/drift/kl_stage", "above": KL, "window": 1}
    changes = dict(arm.changes)
    if arm.warmup is None:
        stages = [{**second, "steps": STEPS + WARMUP}]
    elif alone:
        stages = [warmup]
    else:
        stages = [{**warmup, "steps": STEPS, "until": until}, second]
        changes["probes"] = PROBES
    overrides = {
        "name": arm.name,
        "seed": seed,
        "stages": stages,
        "evaluation": {**EVALUATION, "every": every},
        **changes,
    }
    return Job(part, arm.name, seed, "reach_dsrl", overrides)


def run(jobs: list[Job], folder: Path, processes: int) -> Iterator[Job]:
    """Run what has no record yet, and yield each job when its record is written."""
    waiting = [one for one in jobs if one.seed not in {line["seed"] for line in records(one.record)}]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, max_tasks_per_child=20) as pool:
        yield from pool.map(_run, waiting, [folder] * len(waiting))


def records(file: Path) -> list[dict[str, Any]]:
    """Return the finished runs in that file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def _run(one: Job, folder: Path) -> Job:
    """Run it and write its record here, so that a run outlives the process that asked for it."""
    import torch

    import prerlkit

    torch.set_num_threads(1)
    output = folder / one.part / one.arm / f"seed-{one.seed}"
    begun = processor_seconds()
    prerlkit.run(one.recipe, output, overrides=one.overrides, existing="resume", trust=True)  # a domain's verifier
    spent = {"processor_seconds": processor_seconds() - begun}
    one.record.parent.mkdir(parents=True, exist_ok=True)
    with one.record.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record_of(Run.open(output)) | spent) + "\n")
    return one


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def record_of(run: Run) -> dict[str, Any]:
    """Return what the tables need of a finished run: its evaluations, each with the tokens that were spent by then."""
    sampled = trained = 0
    spent = {0: (0, 0)}
    for step in run.steps:
        sampled += step["tokens/generated"]
        trained += step["tokens/trained"]
        spent[step["step"]] = (sampled, trained)
    lines = []
    for evaluation in run.evaluations:
        line = {key: value for key, value in evaluation.items() if key not in ("by_prompt", "seconds")}
        lines.append({**line, "sampled": spent[line["step"]][0], "trained": spent[line["step"]][1]})
    return {"seed": run.seed, "seconds": run.summary["wall_seconds"], "evaluations": lines}


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("grpo", second=1e-3),
        Arm("nsr-prerl", "nsr-prerl", rate=8e-4, second=1e-3),
        Arm("nsr-rl", "nsr-rl", rate=1.2e-3, second=1e-3),
        Arm("psr-prerl", "psr-prerl", rate=3e-3, second=1.6e-3),
        Arm("prerl", "prerl", rate=1e-3, second=1.6e-3),
        Arm("entropy", {"preset": "grpo", "entropy": 0.05}, rate=8e-4, second=1e-3),
    )
}
"""What is compared. The warm-ups' rates are those of the dose curve, the second rates those of the tuning."""
DOSES = ("6e-4", "8e-4", "1.2e-3", "2e-3", "3e-3")
SECOND_RATES = ("6e-4", "1e-3", "1.6e-3")
SEEDS = {"dose": (100,), "tuning": (100,), "main": tuple(range(10))}


def jobs_of(part: str) -> list[Job]:
    """Return the runs of a part, seed by seed, so that what is finished first has every arm in it."""
    found = []
    for seed in SEEDS[part]:
        for arm in ARMS.values():
            if part == "main":
                found.append(job(part, arm, seed))
            elif part == "tuning":
                at = [replace(arm, name=f"{arm.name}-at-{rate}", second=float(rate)) for rate in SECOND_RATES]
                found += [job(part, one, seed, every=0) for one in at]
            elif arm.warmup:
                at = [replace(arm, name=f"{arm.name}-at-{rate}", rate=float(rate)) for rate in DOSES]
                found += [job(part, one, seed, alone=True, every=12) for one in at]
    return found
