"""Every arm of the study against GRPO and DSRL, over all pairs of task and seed."""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmarks.study.parts import PARTS, TASKS
from benchmarks.study.tables import ACCURACY, table
from benchmarks.study.tuning import final_accuracy, finished
from prerlkit.compare.words import NOTHING, contrast_text
from prerlkit.errors import UsageError
from prerlkit.evaluation.repetitions import paired
from prerlkit.runs.run import Run

Pairs = dict[tuple[str, int], Run]
"""An arm's runs by task and seed."""
WARMUP = "after warmup"
"""The name of the evaluation between a DSRL run's two stages."""


def overall(root: Path) -> str:
    """One Markdown table: greedy accuracy at the end minus GRPO's and DSRL's, and what the warm-up alone changed.

    Args:
        root: the study's folder.

    Raises:
        UsageError: there is no finished run.
    """
    arms = _arms(root)
    if not arms:
        raise UsageError(
            f"No run with tuned learning rates is finished in {root}.",
            "python -m benchmarks.study unpack lays out those that are recorded, into --folder.",
        )
    rows = []
    for name, own in arms.items():
        gains = [gain for run in own.values() if (gain := _of_warmup(run)) is not None]
        against = (_against(arms.get(method, {}), own) if method != name else NOTHING for method in ("grpo", "dsrl"))
        alone = contrast_text(ACCURACY, paired(gains)) if gains else NOTHING
        rows.append([name, str(len(own)), *against, alone])
    words = "Greedy accuracy at 30 steps over all pairs of task and seed, and after the warm-up (t over pairs):"
    head = ["", "runs", "− grpo", "− dsrl", "after the warm-up − before"]
    return "\n\n".join(["### Both tasks", "`python -m benchmarks.study overall`", words, table(head, rows)]) + "\n\n"


def _arms(root: Path) -> dict[str, Pairs]:
    """Every tuned arm with a finished run."""
    found: dict[str, Pairs] = {}
    for part, task in itertools.product((part for part in PARTS.values() if part.tuned), TASKS):
        for name, runs in finished(part, root / f"{part.name}-{task}").items():
            found.setdefault(name, {}).update({(task, run.seed): run for run in runs})
    return found


def _against(base: Pairs, own: Pairs) -> str:
    differences = [final_accuracy(own[pair]) - final_accuracy(base[pair]) for pair in own if pair in base]
    return contrast_text(ACCURACY, paired(differences)) if differences else NOTHING


def _of_warmup(run: Run) -> float | None:
    """What the warm-up alone changed; None without one."""
    at = {one["name"]: float(one["accuracy"]["value"]) for one in run.evaluations}
    return at[WARMUP] - at["before"] if WARMUP in at else None
