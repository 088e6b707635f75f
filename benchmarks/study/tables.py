"""A part's runs as the Markdown tables of docs/results.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.study.parts import PARTS, Part
from benchmarks.study.probed import Rows, alignment_rows, thought_rows
from benchmarks.study.tuning import LAST, best, finished, score
from prerlkit.compare.comparison import Comparison, compare
from prerlkit.compare.words import NOTHING, contrast_text, cost_text, mean_text
from prerlkit.errors import UsageError
from prerlkit.evaluation.repetitions import mean
from prerlkit.runs.run import Run

ACCURACY = "eval/accuracy"
Row = Sequence[str]


def tables(part: Part, task: str, root: Path) -> str:
    """All of a part's tables for a task, with the commands that make them; what is not finished is left out, and said.

    Args:
        root: the study's folder.
    """
    runs = finished(part, root / f"{part.name}-{task}")
    wanted = len(part.arms) * len(part.seeds)
    done = sum(map(len, runs.values()))
    commands = (f"`python -m benchmarks.study {action} {part.name} --task {task}`" for action in ("run", "tables"))
    head = [f"### {part.name}, {task}", f"{', then '.join(commands)}: {done} of {wanted} runs finished."]
    if not done:
        return "\n\n".join(head) + "\n\n"
    if not part.tuned:
        return "\n\n".join([*head, _tuning(part, runs)]) + "\n\n"
    seeds = {run.seed for own in runs.values() for run in own}
    if part.name != "main":  # what every arm is compared with, on the same seeds
        runs = finished(PARTS["main"], root / f"main-{task}") | runs
    runs = {label: [run for run in own if run.seed in seeds] for label, own in runs.items()}
    found = compare([run for own in runs.values() for run in own], metrics=[ACCURACY])
    return "\n\n".join([*head, *_compared(found, runs), *_probed(part, runs), *found.warnings]) + "\n\n"


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; numbers stand right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tuning(part: Part, runs: Mapping[str, Sequence[Run]]) -> str:
    try:
        winners = set(best(runs).values())
    except UsageError:  # not all of them are finished
        winners = set()
    rows = []
    for arm in part.arms:
        if own := runs.get(arm.name):
            accuracy, reward = score(own)
            mark = "**" if arm.settings in winners else ""
            rows.append([f"{mark}{arm.name}{mark}", f"{100 * accuracy:.1f}", f"{reward:.3f}"])
    return table(["learning rates", "greedy accuracy at the end, %", f"reward, last {LAST} steps"], rows)


def _compared(found: Comparison, runs: Mapping[str, Sequence[Run]]) -> list[str]:
    (accuracy,) = found.metrics
    labels = [own.label for own in found.groups if own.runs]
    machines = _machines(runs)
    at_budgets = [b for b in accuracy.budgets if b.axis != "seconds" or len(machines) == 1]
    rows = []
    for label in labels:
        own = runs[label]
        before = mean([run.evaluations[0]["accuracy"]["value"] for run in own])
        at = (mean_text(ACCURACY, b.means.get(label), b.between.get(label, 0)) for b in at_budgets)
        rows.append([label, str(len(own)), mean_text(ACCURACY, before), *at])
    budgets = [f"at {b.budget:,.0f} {b.axis}" for b in at_budgets]
    results = table(["", "seeds", "before", *budgets], rows)
    against = [
        [f"{label} − {found.baseline}", *(contrast_text(ACCURACY, b.contrasts.get(label)) for b in at_budgets)]
        for label in labels
        if label != found.baseline
    ]
    apart = "; ".join(", ".join(own) for own in machines)
    said = f"Seconds compare only within a machine, so nothing is given at equal time: {apart}."
    return [
        *([said] if len(machines) > 1 else []),
        "Greedy accuracy on held-out prompts, mean and 95 % (t over seeds):",
        results,
        "Differences by seed:",
        table(["", *budgets], against),
        "What it cost, a run:",
        table(["", *found.costs[labels[0]]], ([label, *_costs(found, label)] for label in labels)),
        "Seconds a step, and how it went (means over seeds):",
        table(["", *(name for name, _ in _HABITS)], ([label, *_habits(runs[label])] for label in labels)),
    ]


def _machines(runs: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Arms that ran on the same machines, as far as runs tell."""
    arms: dict[str, list[str]] = {}
    for label, own in runs.items():
        hardware = {json.dumps(run.environment.get("hardware"), sort_keys=True) for run in own}
        arms.setdefault(" ".join(sorted(hardware)), []).append(label)
    return list(arms.values())


def _costs(found: Comparison, label: str) -> list[str]:
    return [cost_text(name, value) for name, value in found.costs[label].items()]


def _probed(part: Part, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """What probes found; nothing where none of the part's own arms had them."""
    for words, rows_of in _PROBED:
        found = {label: rows_of(own) for label, own in runs.items()}
        held = {label: (head, rows) for label, (head, rows) in found.items() if rows}
        if any(arm.name in held for arm in part.arms):
            head = max((head for head, _ in held.values()), key=len)
            yield words
            yield table(["", *head], ([label, *row] for label, (_, rows) in held.items() for row in rows))


_PROBED: tuple[tuple[str, Callable[[Sequence[Run]], Rows]], ...] = (
    (
        "Alignment of ∇log P(y) and ∇log P(y|x) by layers, mean over seeds (a stage's first step has B = 0):",
        alignment_rows,
    ),
    ("Thoughts in a thousand tokens, first five steps and last five:", thought_rows),
)


def _step_mean(name: str, last: int | None = None) -> Callable[[Run], float | None]:
    """A run's mean of a metric over its steps, or its last ones."""

    def value(run: Run) -> float | None:
        steps = run.steps[-last:] if last else run.steps
        values = [step[name] for step in steps if name in step]
        return sum(values) / len(values) if values else None

    return value


def _alarms(run: Run) -> float:
    return float(sum(name.startswith("health/") for step in run.steps for name in step))


_HABITS: tuple[tuple[str, Callable[[Run], float | None]], ...] = (
    ("rollout", _step_mean("time/rollout")),
    ("training", _step_mean("time/train")),
    ("groups without signal", _step_mean("group/zero_signal")),
    ("entropy at the end", _step_mean("policy/entropy", LAST)),
    ("tokens a completion at the end", _step_mean("tokens/completion_mean", LAST)),
    ("truncated at the end", _step_mean("sample/truncated", LAST)),
    ("health alarms", _alarms),
)


def _habits(runs: Sequence[Run]) -> list[str]:
    cells = []
    for _, value in _HABITS:
        values = [one for run in runs if (one := value(run)) is not None]
        cells.append(f"{sum(values) / len(values):.3g}" if values else NOTHING)
    return cells
