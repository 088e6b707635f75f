"""Settings of a recipe compared on the laboratory's task, several seeds each: the runs, their numbers and a table."""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

Numbers = dict[str, float]

_T_95, _T_80 = {2: 4.303, 3: 3.182, 4: 2.776}, {2: 1.061, 3: 0.978, 4: 0.941}
"""Quantiles of Student's t at 97.5 % and 80 %, by degrees of freedom: seeds − 1."""


def arguments(description: str | None, *flags: str) -> argparse.Namespace:
    """Parse the options of such a benchmark, and its own `flags`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


def run_all(arms: Mapping[str, Sequence[str]], options: argparse.Namespace) -> dict[str, list[Path]]:
    """Run `reach_grpo` with the settings of each arm and each seed. Runs that are complete are not repeated.

    The arms take turns, so that other work on the machine slows all of them alike.

    Args:
        arms: by a word that names its folders, the settings (`--set`).

    Returns:
        The run folders of each arm, by seed.
    """
    folders = {word: [options.output / f"{word}-seed{seed}" for seed in options.seeds] for word in arms}
    for number, seed in enumerate(options.seeds):
        for word, settings in arms.items():
            _run(folders[word][number], settings, seed, options.steps)
    return folders


def _run(folder: Path, settings: Sequence[str], seed: int, steps: int) -> None:
    summary = folder / "summary.json"  # a run has one from its first moment
    if summary.is_file() and json.loads(summary.read_text(encoding="utf-8")).get("exit_reason") == "completed":
        return
    changes = [*settings, f"seed={seed}", f"stages.rl.steps={steps}", "evaluation.samples=8"]
    changes += ["evaluation.pass_at=[1,8]"]
    sets = [word for change in changes for word in ("--set", change)]
    subprocess.run(
        [sys.executable, "-m", "prerlkit", "run", "reach_grpo", "-o", str(folder), "--resume", *sets],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def processor_seconds(settings: Sequence[str], seed: int, steps: int) -> float:
    """Return the processor time of a run without evaluations, its start included: other work doesn't change it much."""
    changes = [*settings, f"seed={seed}", f"stages.rl.steps={steps}", "evaluation.when=[]"]
    sets = [word for change in changes for word in ("--set", change)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "prerlkit", "run", "reach_grpo", "-q", "-o", f"{folder}/run", *sets]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def lines(folder: Path, name: str) -> list[Numbers]:
    """Return the objects of a jsonl file of a run."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def measure(folder: Path) -> Numbers:
    """Return a run's numbers: tokens sampled, seconds of rollouts, avg@8 before and after, gain for 10⁶ tokens."""
    steps = lines(folder, "metrics.jsonl")
    results = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = sum(step["tokens/generated"] for step in steps)
    before, after = (results[i]["average"]["value"] for i in (0, -1))
    return {
        "tokens": tokens,
        "seconds": sum(step["time/rollout"] for step in steps),
        "before": before,
        "after": after,
        "gain": 1e6 * (after - before) / tokens,
    }


def spread(values: Sequence[float], form: str) -> str:
    """Return mean, lowest and highest."""
    return f"{statistics.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def row(word: str, found: Sequence[Numbers], columns: Mapping[str, str]) -> str:
    """Return a line of the table. `columns`: the number's name → its format."""
    cells = [spread([one[key] for one in found], form) for key, form in columns.items()]
    return f"| {word} | {' | '.join(cells)} |"


def effect(found: Sequence[Numbers], against: Sequence[Numbers], key: str, form: str) -> str:
    """Return the mean difference of two arms, paired by seed, with the smallest one that these seeds could show.

    That is the effect which a paired t-test at 5 % finds in 80 % of such experiments, by the spread that is seen here.
    """
    differences = [one[key] - other[key] for one, other in zip(found, against, strict=True)]
    freedom = len(differences) - 1
    least = (_T_95[freedom] + _T_80[freedom]) * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{statistics.mean(differences):+{form}} (smallest that could be seen: {least:{form}})"
