"""Replay on the laboratory's task: sampled tokens, rollout time and accuracy, with and without, three seeds.

    python -m benchmarks.replay --output runs/replay --steps 25

Runs that are complete in the folder are not repeated. The tables are docs/algorithms.md's. With `--processor` it
measures the processor time of runs without evaluations instead, which other work on the machine hardly changes.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import arms

SHARES = {"no replay": "null", "replay: 0.25": "0.25", "replay: 0.4": "0.4"}
COLUMNS = {"tokens": ",.0f", "seconds": ".1f", "after": ".3f", "gain": ".3f"}
WORDS = {"tokens": "tokens sampled", "seconds": "seconds of rollouts", "after": "avg@8 after"}


def measure(folder: Path) -> arms.Numbers:
    """Return a run's numbers, with the share of replayed groups, their age and weight; 0, 0 and 1 without replay."""
    steps = arms.lines(folder, "metrics.jsonl")
    replayed = [step for step in steps if step.get("replay/share")]
    mean = {key: statistics.mean([step[f"replay/{key}"] for step in replayed] or [0]) for key in ("age", "weight")}
    share = statistics.mean([step.get("replay/share", 0.0) for step in steps])
    return {"share": share, **mean, **arms.measure(folder)}


def main() -> None:
    options = arms.arguments(__doc__, "--processor")
    if options.processor:
        for word, share in SHARES.items():
            each = [arms.processor_seconds([f"rollout.replay={share}"], seed, options.steps) for seed in options.seeds]
            print(f"| {word} | {arms.spread(each, '.1f')} |")
        return
    folders = arms.run_all({f"replay{share}": [f"rollout.replay={share}"] for share in SHARES.values()}, options)
    found = {word: [measure(folder) for folder in folders[f"replay{share}"]] for word, share in SHARES.items()}
    print("| setting | tokens sampled | seconds of rollouts | avg@8 after | avg@8 gained for 10⁶ tokens |")
    print("|---|---|---|---|---|")
    for word, numbers in found.items():
        print(arms.row(word, numbers, COLUMNS))
    print()
    without, *others = found
    print("| setting | share replayed | mean age | mean weight |\n|---|---|---|---|")
    for word in others:
        print(arms.row(word, found[word], {"share": ".2f", "age": ".2f", "weight": ".3f"}))
    print()
    for word in others:
        for key, form in COLUMNS.items():
            print(f"{word}, {WORDS.get(key, 'gain')}: {arms.effect(found[word], found[without], key, form)}")


if __name__ == "__main__":
    main()
