"""Whether a long run grows: resident memory, seconds of a step and bytes of its files over many steps.

python -m benchmarks.growth reach_dsrl --steps 1000 --set rollout.prompts_per_step=4
python -m benchmarks.growth smoke --steps 1000

The last stage is as long as the steps that are left; evaluations are left out, as they would hide what a step costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import prerlkit
from prerlkit.recipe.load import load
from prerlkit.train.callbacks import SilentCallback
from prerlkit.types import StepRecord


class Growth(SilentCallback):
    """Reads this process's resident memory and each step's seconds."""

    def __init__(self) -> None:
        self.resident: list[int] = []
        self.seconds: list[float] = []

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        self.resident.append(_resident())
        self.seconds.append(record.metrics["time/step"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of `prerlkit run`")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    recipe = load(options.recipe, options.set).recipe
    before = sum(stage.steps for stage in recipe.stages[:-1])
    overrides = {f"stages.{recipe.stages[-1].name}.steps": options.steps - before, "evaluation.when": []}
    recipe = load(
        options.recipe, [*options.set, *(f"{key}={json.dumps(value)}" for key, value in overrides.items())]
    ).recipe
    growth = Growth()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        prerlkit.run(recipe, run, callback=growth)
        files = {path.name: path.stat().st_size for path in sorted(run.glob("*.jsonl"))}
    fifth = len(growth.resident) // 5
    figures = {
        "steps": len(growth.seconds),
        "resident MiB at a fifth and at the end": [round(growth.resident[n] / 2**20, 1) for n in (fifth, -1)],
        "resident MB per 100 steps, of the last four fifths": round(slope(growth.resident) / 1e6 * 100, 3),
        "step seconds per 100 steps, of the last four fifths": round(slope(growth.seconds) * 100, 5),
        "median seconds of a step, five fifths": [round(statistics.median(part), 3) for part in fifths(growth.seconds)],
        "bytes per step": {name: round(size / len(growth.seconds)) for name, size in files.items()},
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def slope(values: Sequence[float]) -> float:
    """Return the slope of the line through the last four fifths of the values, by least squares, in units a step."""
    kept = values[len(values) // 5 :]
    return float(np.polyfit(range(len(kept)), kept, 1)[0])


def fifths(values: Sequence[float]) -> list[Sequence[float]]:
    """Return the values in five parts of equal length."""
    size = len(values) // 5
    return [values[n * size : (n + 1) * size] for n in range(5)]


def _resident() -> int:
    """Return the resident memory of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
