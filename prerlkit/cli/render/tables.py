"""The tables at the end of a run: what its evaluations measured, and what each stage did."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from prerlkit.evaluation.effect_words import effect_rows
from prerlkit.evaluation.result import EvalResult
from prerlkit.evaluation.stage_effect import StageEffect


def evaluation_table(results: Sequence[EvalResult], width: int | None = None) -> Table:
    """Return what the evaluations measured, with intervals: greedy accuracy and avg@k, as far as there are any.

    The change since the first one is that of greedy accuracy, without it that of avg@k.

    Args:
        width: columns of the terminal. In a narrow one intervals have a separate line, and the least important
            columns are left out. None: all, as wide as they are.
    """
    columns = _columns(results)
    table = _evaluations(columns)
    if width is None or natural_width(table) <= width:
        return table
    columns = {name: [cell.replace(" [", "\n[") for cell in cells] for name, cells in columns.items()}
    passes = [name for name in columns if name.startswith("pass@")]
    lesser = ["length", "step", *passes[:-1], "change", *passes[-1:]]
    for name in lesser:
        if natural_width(table := _evaluations(columns)) <= width:
            break
        del columns[name]
    return table


def effect_table(effects: Sequence[StageEffect], width: int | None = None) -> Table:
    """Return what each stage did to the policy, one row each; where that is wider than `width`, one column each."""
    headings, rows = effect_rows(effects)
    table = _effects(headings, rows)
    if width is None or natural_width(table) <= width:
        return table
    turned = [list(cells) for cells in zip(headings, *rows, strict=True)]
    return _effects(turned[0], turned[1:])


def natural_width(table: Table) -> int:
    """Return the columns that the table takes where there is room."""
    return Console(width=1000, file=io.StringIO()).measure(table).maximum


def _columns(results: Sequence[EvalResult]) -> dict[str, list[str]]:
    """Return the cells of each column by its heading."""
    last = results[-1]
    measured: dict[str, Callable[[EvalResult], object | None]] = {}
    if any(result.accuracy for result in results):
        measured["greedy accuracy"] = lambda result: result.accuracy
    if any(result.average for result in results):
        measured[f"avg@{last.samples}"] = lambda result: result.average
    figures = {name: [str(read(result) or "–") for result in results] for name, read in measured.items()}
    first = dict(list(figures.items())[:1])
    changes = ["", *(_points(results[0].score, result.score) for result in results[1:])]
    return {
        "evaluation": [result.name for result in results],
        "step": [str(result.step) for result in results],
        **first,
        "change": changes,
        **{name: cells for name, cells in figures.items() if name not in first},
        **{f"pass@{k}": [str(result.pass_at.get(k, "–")) for result in results] for k in last.pass_at if k > 1},
        "length": [f"{result.tokens_mean:.1f}" for result in results],
    }


def _evaluations(columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(title="held-out, 95 % intervals", title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name == "evaluation" else "right", overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _effects(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title="what each stage did: KL to the policy before it, and held-out before → after")
    table.title_justify = "left"
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _points(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{100 * (after - before):+.1f} points"
