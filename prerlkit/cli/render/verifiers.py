"""How verifiers, their gold cases and an audit look on a terminal and in a log."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prerlkit.audit.audit import Audit, AuditLine
from prerlkit.verify.describe import Description
from prerlkit.verify.gold import CaseResult

_DIFFERENCES = 20  # shown; the rest is counted
_EXAMPLE = 160  # characters


def print_description(console: Console, name: str, file: str, about: Description) -> None:
    """A verifier with its settings."""
    console.print(f"[bold]{escape(name)}[/bold]  {escape(about.summary)}")
    console.print(file, markup=False, soft_wrap=True)
    if about.doc and about.doc != about.summary:
        console.print(f"\n{about.doc}\n", markup=False)
    if about.settings:
        table = Table("setting", "type", "default", "what it is")
        for setting in about.settings:
            table.add_row(*map(escape, (setting.name, setting.kind, setting.default, setting.doc)))
        console.print(table)
    else:
        console.print("no settings")
    console.print(f"resources: {about.resources}; gold answer: {'needed' if about.needs_answer else 'not needed'}")
    cases = ", ".join(f"{count} must be {kind}" for kind, count in about.cases.items())
    console.print(f"gold cases: {cases}")


def print_cases(console: Console, name: str, results: Sequence[CaseResult], wrong: Sequence[str]) -> None:
    """How the gold cases came out, and how long a verdict takes."""
    for line in wrong:
        console.print(f"[red]wrong[/red] {escape(line)}", soft_wrap=True)
    right = sum(result.right for result in results)
    console.print(f"{name}: {right} of {len(results)} gold cases come out as they say", markup=False)
    if results:
        times = [1000 * result.seconds for result in results]
        slowest = max(results, key=lambda result: result.seconds)
        console.print(
            f"a verdict takes {statistics.median(times):.2f} ms (median), {max(times):.2f} ms at most "
            f"(gold case {slowest.number}; the first ones may load libraries)"
        )


def print_audit(console: Console, audit: Audit, threshold: float) -> None:
    """What each attack got compared with the gold answers, and where a second opinion differs."""
    table = Table("attack", "mean score", "passed", "unjudged", "samples")
    for line in audit.lines:
        style = "red" if line.over(threshold) else "bold" if line.gold else ""
        score = "–" if line.score is None else f"{line.score:.3f}"
        table.add_row(
            escape(line.name), score, _share(line.passed), _share(line.unjudged), str(line.samples), style=style
        )
    console.print(table)
    for line in audit.lines:
        if line.example and (line.over(threshold) or line.gold):
            console.print(f"{_what(line)}: {_short(line.example)}", markup=False, soft_wrap=True)
    if audit.asked:
        console.print(
            f"second opinion (math-verify alone) differs on {len(audit.differences)} of {audit.asked} answers"
        )
    for one in audit.differences[:_DIFFERENCES]:
        text = f"  {one.ours}, math-verify {one.theirs}: gold {one.answer!r}, {_short(repr(one.completion))}"
        console.print(text, markup=False, soft_wrap=True)
    if (more := len(audit.differences) - _DIFFERENCES) > 0:
        console.print(f"  and {more} more (--json has them all)")
    over = audit.over(threshold)
    how_many = f"{len(over)} attacks score" if len(over) > 1 else f"{len(over) or 'no'} attack scores"
    console.print(f"{how_many} above {threshold:g}")


def _what(line: AuditLine) -> str:
    return f"{line.name}, not passed" if line.gold else f"{line.name}, rewarded"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _short(text: str) -> str:
    return text if len(text) <= _EXAMPLE else text[:_EXAMPLE] + "…"
