"""`prerlkit compare`: is one thing better than another, over seeds, at the same cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.completion import run_folders
from prerlkit.cli.guard import guarded
from prerlkit.cli.options import check_page, write_page
from prerlkit.cli.visible import echo


@guarded
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or folders that hold runs.", metavar="RUN…", autocompletion=run_folders),
    ],
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="KEY", help="A recipe key whose values make the groups. Repeatable."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="GROUP", help="What the others are compared with; the first.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help="A metric, or a pattern: 'probe/*'. Repeatable."),
    ] = None,
    window: Annotated[
        int, typer.Option("--window", min=1, help="Steps that a metric of single steps is averaged over.")
    ] = 5,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write one page with tables and curves.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, curves too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks.")] = False,
) -> None:
    """Compare runs over seeds, at equal steps, equal sampled tokens and equal time.

    [bold]prerlkit compare runs/sweep[/bold]
    [bold]prerlkit compare runs/grpo-* runs/dsrl-* --html compare.html[/bold]
    [bold]prerlkit compare runs/* --by stages.rl.learning_rate[/bold]
    [bold]prerlkit compare runs/* -m eval/accuracy -m 'policy/*'[/bold]

    Runs with the same recipe but for the seed are one group; intervals are Student's t over its seeds, and groups are
    compared seed by seed. Only completed runs count; others are listed. See docs/compare.md.
    """
    from prerlkit.cli.render.compare import print_comparison
    from prerlkit.cli.render.console import wide_console
    from prerlkit.compare.comparison import DEFAULT
    from prerlkit.compare.comparison import compare as compare_runs
    from prerlkit.runs.find import find_runs

    if html is not None:
        check_page(html, "--html")
    found = find_runs(runs)
    asked = {"by": by or (), "baseline": baseline, "window": window}
    result = compare_runs(found, metrics=metrics or (), **asked)  # type: ignore[arg-type]
    if html is not None:
        from prerlkit.compare.html import CURVES, page

        more = (*DEFAULT, *CURVES)
        shown = result if metrics else compare_runs(found, metrics=more, lenient=True, **asked)  # type: ignore[arg-type]
        write_page(html, page(shown), "--html")
    if as_json:
        echo(json.dumps(result.to_json(), indent=2))
        return
    console = wide_console()
    print_comparison(console, result)
    if html is not None:
        console.print(f"page: {html}", markup=False, soft_wrap=True)
