"""What the probes of the study's runs found, as rows of tables: alignment by layer, thoughts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prerlkit.compare.words import NOTHING
from prerlkit.evaluation.thoughts import KINDS
from prerlkit.runs.run import Run

Rows = tuple[Sequence[str], list[list[str]]]
LAYERS = 5
"""Layers that stand together in one column."""
STEPS = 5
"""First and last steps whose thoughts are counted."""


def alignment_rows(runs: Sequence[Run]) -> Rows:
    """By stage, its first and last probed step: the cosine on the whole adapter and on layers next to each other."""
    cells: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for when, line in _first_and_last(run):
            own = cells.setdefault(when, {})
            for layer, cosine in line["by_layer"]["all"].items():
                number = layer.rpartition(".")[2]  # of `model.layers.3`
                if cosine is not None and number.isdigit():
                    low = int(number) // LAYERS * LAYERS
                    own.setdefault(f"{low}–{low + LAYERS - 1}", []).append(cosine)
            step = next(step for step in run.steps if step["step"] == line["step"])
            if "probe/alignment" in step:
                own.setdefault("whole", []).append(step["probe/alignment"])
    columns = sorted({name for own in cells.values() for name in own} - {"whole"}, key=lambda n: int(n.split("–")[0]))
    rows = [[when, *(_mean(own.get(column)) for column in ("whole", *columns))] for when, own in cells.items()]
    return ["step", "whole", *columns], rows


def _first_and_last(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Words and the probe's details, for each stage."""
    stage_of = {step["step"]: step["stage"] for step in run.steps}
    lines = [{**line["alignment"], "step": line["step"]} for line in run.probes if "alignment" in line]
    for stage in run.stages:
        own = [line for line in lines if stage_of.get(line["step"]) == stage]
        if own:
            yield f"{stage}, first", own[0]
        if len(own) > 1:
            yield f"{stage}, last", own[-1]


def thought_rows(runs: Sequence[Run]) -> Rows:
    """Each kind's count in a thousand tokens: before → after."""
    row = []
    for kind in KINDS:
        name = f"probe/thoughts/{kind}_per_1k"
        values = [[step[name] for step in run.steps if name in step] for run in runs]
        first, last = [x for own in values for x in own[:STEPS]], [x for own in values for x in own[-STEPS:]]
        row.append(f"{_mean(first)} → {_mean(last)}")
    return list(KINDS), [row]


def _mean(values: Sequence[float] | None) -> str:
    return f"{sum(values) / len(values):.2f}" if values else NOTHING
