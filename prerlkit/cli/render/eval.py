"""How an evaluation looks: a column a target, a row a figure, and the differences beneath."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prerlkit.evaluation.harness.presets import PRESETS
from prerlkit.evaluation.harness.results import NO_ANSWERS, Results, TargetComparison, TargetResult


def print_results(console: Console, results: Results, folder: Path) -> None:
    """The whole of it, and where the files are."""
    console.print(_table(results))
    for comparison in results.comparisons:
        console.print(_differences(comparison))
    for target in results.targets:
        if NO_ANSWERS in target.notes:
            console.print(f"{target.target}: {NO_ANSWERS}", markup=False, soft_wrap=True)
        if target.unjudged:
            console.print(
                f"{target.target}: {target.unjudged} of {target.completions} completions are unjudged: they are in no "
                "figure, right or wrong",
                markup=False,
                soft_wrap=True,
            )
    console.print(f"results {folder / 'results.json'}   samples {folder}/*/samples.jsonl", markup=False, soft_wrap=True)


def presets_table() -> Table:
    table = Table("preset", "what it is", "on the Hub", "columns", "verifier", "new tokens ≤")
    for name, preset in PRESETS.items():
        source = preset.source
        where = " ".join(part for part in (source.id, source.config, source.split) if part)
        columns = ", ".join(part for part in (preset.prompt.split("{")[1].split("}")[0], preset.answer) if part)
        table.add_row(name, preset.about, where, columns, preset.verifier.name, f"{preset.max_new_tokens:,}")
    return table


def _table(results: Results) -> Table:
    table = Table(title=f"{results.task}, 95 % intervals", title_justify="left")
    table.add_column("")
    for target in results.targets:
        table.add_column(escape(target.target), justify="right", overflow="fold")
    figures = [target.figures() for target in results.targets]
    for metric in figures[0]:
        table.add_row(metric, *(own[metric] for own in figures))
    table.add_section()
    rows = [_counts(target) for target in results.targets]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    return table


def _counts(target: TargetResult) -> dict[str, str]:
    lengths = f"{target.tokens_mean:.1f} / {target.tokens_median:.0f} / {target.tokens_max}"
    return {
        "problems": f"{target.problems:,}",
        "completions": f"{target.completions:,}",
        "unjudged": f"{target.unjudged:,}",
        "truncated": f"{target.truncated:,}",
        "tokens mean / median / max": lengths,
        **{f"{kind} thoughts": f"{number:.2f}" for kind, number in target.thoughts.items()},
    }


def _differences(comparison: TargetComparison) -> Table:
    title = f"{comparison.second} minus {comparison.first}, on the same problems"
    table = Table(
        "", "points", "95 % interval", "better", "worse", "problems", title=escape(title), title_justify="left"
    )
    headings = [str(column.header) for column in table.columns[1:]]
    for name, cells in comparison.rows().items():
        table.add_row(name, *(escape(cells.get(heading, "")) for heading in headings))
    return table
