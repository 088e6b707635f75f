"""Refill on the laboratory's task: groups with signal, sampled tokens and accuracy, with and without, three seeds.

    python -m benchmarks.refill --output runs/refill --steps 25

Runs that are complete in the folder are not repeated. The table is docs/algorithms.md's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

SETTINGS = {"no refill": 0, "refill: 4": 4}


def run(folder: Path, refill: int, seed: int, steps: int) -> None:
    """Run `reach_grpo` into `folder`, unless it is complete there."""
    summary = folder / "summary.json"  # a run has one from its first moment
    if summary.is_file() and json.loads(summary.read_text(encoding="utf-8")).get("exit_reason") == "completed":
        return
    changes = [f"rollout.refill={refill}", f"seed={seed}", f"stages.rl.steps={steps}", "evaluation.samples=8"]
    changes += ["evaluation.pass_at=[1,8]"]
    sets = [word for change in changes for word in ("--set", change)]
    subprocess.run(
        [sys.executable, "-m", "prerlkit", "run", "reach_grpo", "-o", str(folder), "--resume", *sets],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def measure(folder: Path) -> dict[str, float]:
    """Return a run's numbers: share of trained groups with signal, tokens sampled, average accuracy, rollout time."""
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    results = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    signal = [step.get("refill/filled", 1 - step["group/zero_signal"]) for step in steps]
    tokens = sum(step["tokens/generated"] for step in steps)
    before, after = (results[i]["average"]["value"] for i in (0, -1))
    return {
        "signal": statistics.mean(signal),
        "tokens": tokens,
        "before": before,
        "after": after,
        "gain": 1e6 * (after - before) / tokens,
    }


def row(word: str, found: list[dict[str, float]]) -> str:
    """Return a line of the table: mean, and the lowest and highest seed."""

    def spread(key: str, form: str) -> str:
        values = [one[key] for one in found]
        return f"{statistics.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    cells = [spread("signal", ".2f"), spread("tokens", ",.0f"), spread("after", ".3f"), spread("gain", ".3f")]
    return f"| {word} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    rows = []
    for word, refill in SETTINGS.items():
        folders = [options.output / f"refill{refill}-seed{seed}" for seed in options.seeds]
        for folder, seed in zip(folders, options.seeds, strict=True):
            run(folder, refill, seed, options.steps)
        rows.append(row(word, [measure(folder) for folder in folders]))
    print("| setting | trained groups with signal | tokens sampled | avg@8 after | avg@8 gained for 10⁶ tokens |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
