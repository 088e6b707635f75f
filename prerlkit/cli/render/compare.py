"""How a comparison looks on a terminal and in a log."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prerlkit.compare import words
from prerlkit.compare.comparison import Comparison, MetricComparison
from prerlkit.compare.effects import effect_table


def print_comparison(console: Console, found: Comparison) -> None:
    """Groups, warnings, a table a metric, costs, and what one has to know to read them."""
    table = _table("groups", "group", "runs", "seeds", "left out")
    for row in words.group_rows(found):
        table.add_row(*map(escape, row))
    console.print(table)
    for text in found.warnings:
        word = words.warning_word(found, text).lower()
        console.print(f"[yellow]{word}[/yellow]  {escape(text)}", soft_wrap=True)
    for metric in found.metrics:
        _print_metric(console, metric, found)
    if found.effects:
        head, rows = effect_table(found.effects)
        table = _table("what each stage did: KL to the policy before it, held-out after against before", *head)
        for cells in rows:
            table.add_row(*map(escape, cells))
        console.print(table)
    names = list(next(iter(found.costs.values())))
    table = _table("cost of a run, mean [95 %]", "group", *names)
    for label, own in found.costs.items():
        table.add_row(escape(label), *(words.cost_text(name, own[name]) for name in names))
    console.print(table)
    for one in found.by_prompt:
        console.print(f"{one.group} minus {found.baseline}, prompt by prompt:", markup=False, soft_wrap=True)
        console.print(f"  {words.by_prompt_text(one)}", markup=False, soft_wrap=True)
    for text in found.notes:
        console.print(f"· {escape(text)}", style="dim", soft_wrap=True)


def _print_metric(console: Console, metric: MetricComparison, found: Comparison) -> None:
    heading, rows = words.metric_rows(found, metric)
    table = _table(f"{metric.name}, mean [95 %]", *heading)
    groups = sum(any(own.label in at.means for at in metric.budgets) for own in found.groups)
    for number, cells in enumerate(rows, 1):
        table.add_row(*map(escape, cells), end_section=number == groups < len(rows))
    console.print(table)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="left" if column == "left out" else "right", overflow="fold")
    return table
