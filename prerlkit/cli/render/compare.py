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
        word = "not comparable" if text in found.incomparable else "compare with care"
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
    budgets = metric.budgets
    labels = [own.label for own in found.groups if any(own.label in at.means for at in budgets)]
    table = _table(f"{metric.name}, mean [95 %]", "group", *map(words.budget_text, budgets))
    for label in labels:
        cells = (words.mean_text(metric.name, at.means.get(label), at.between.get(label, 0)) for at in budgets)
        table.add_row(escape(label), *map(escape, cells))
    others = [label for label in labels if label != found.baseline]
    if others:
        table.add_section()
        for label in others:
            cells = (words.contrast_text(metric.name, at.contrasts.get(label)) for at in budgets)
            table.add_row(f"{escape(label)} minus {escape(found.baseline)}", *map(escape, cells))
    console.print(table)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="left" if column == "left out" else "right", overflow="fold")
    return table
