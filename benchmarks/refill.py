"""Refill on the laboratory's task: groups with signal, sampled tokens and accuracy, with and without, three seeds.

    python -m benchmarks.refill --output runs/refill --steps 25

Runs that are complete in the folder are not repeated. The table is docs/algorithms.md's.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import arms

SETTINGS = {"no refill": 0, "refill: 4": 4}


def measure(folder: Path) -> arms.Numbers:
    """Return a run's numbers, the share of trained groups with signal among them."""
    steps = arms.lines(folder, "metrics.jsonl")
    signal = [step.get("refill/filled", 1 - step["group/zero_signal"]) for step in steps]
    return {"signal": statistics.mean(signal), **arms.measure(folder)}


def main() -> None:
    options = arms.arguments(__doc__)
    folders = arms.run_all({f"refill{n}": [f"rollout.refill={n}"] for n in SETTINGS.values()}, options)
    print("| setting | trained groups with signal | tokens sampled | avg@8 after | avg@8 gained for 10⁶ tokens |")
    print("|---|---|---|---|---|")
    columns = {"signal": ".2f", "tokens": ",.0f", "after": ".3f", "gain": ".3f"}
    for word, refill in SETTINGS.items():
        print(arms.row(word, [measure(folder) for folder in folders[f"refill{refill}"]], columns))


if __name__ == "__main__":
    main()
