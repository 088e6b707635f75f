"""How the checks of `prerlkit doctor --run` look: what is being tried, then a table of all."""

from __future__ import annotations

from rich.table import Table

from prerlkit.cli.render.console import wide_console
from prerlkit.doctor.check import CheckResult
from prerlkit.doctor.run import checks, run_all

_STYLES = {"ok": "green", "FAILED": "red", "skipped": "dim"}


def print_checks() -> list[CheckResult]:
    """Run every check, print a line as each is done and a table at the end; give the results."""
    console = wide_console()
    total = len(checks())
    done: list[CheckResult] = []

    def show(result: CheckResult) -> None:
        done.append(result)
        console.print(f"[{len(done)}/{total}] {result.name}: {result.verdict}, {result.seconds:.1f} s", markup=False)

    results = run_all(show)
    table = Table("check", "verdict", "seconds", "figures")
    for result in results:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in result.figures.items())
        text = "; ".join(part for part in (result.note, figures) if part)
        style = _STYLES[result.verdict]
        table.add_row(result.name, f"[{style}]{result.verdict}[/{style}]", f"{result.seconds:.1f}", text)
    console.print(table)
    return results
