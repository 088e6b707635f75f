"""`prerlkit report`: one or several runs on one page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from prerlkit.cli.completion import run_folders
from prerlkit.cli.guard import guarded
from prerlkit.cli.options import check_page, write_page
from prerlkit.cli.visible import echo
from prerlkit.errors import UsageError


@guarded
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN…", help="Run folders, as `prerlkit run` wrote them.", autocompletion=run_folders),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; else report.html in the run folder.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve a live page on localhost instead, until Ctrl-C.")
    ] = False,
    port: Annotated[int | None, typer.Option("--port", help="Of --watch; else a free one.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks.")] = False,
) -> None:
    """Write one HTML file about a run, or about several together: did it learn, curves, completions, recipe.

    [bold]prerlkit report runs/quickstart_dsrl[/bold]
      → runs/quickstart_dsrl/report.html
    [bold]prerlkit report runs/seed0 runs/seed1 -o both.html[/bold]
      curves of both in the same charts
    [bold]prerlkit report runs/long --watch --open[/bold]
      while it runs

    Works for running, stopped, failed and killed runs. The file needs no network; of 1,000 steps it is under 5 MB.
    Several runs without -o write report.html where you are. docs/report.md says what is on it.
    """
    if watch and output:
        raise UsageError("--watch writes no file, so -o has no meaning with it.", "Choose one.")
    if port is not None and not watch:
        raise UsageError("--port belongs to --watch.", "Add --watch, or leave it out.")
    if watch:
        _serve(runs, port or 0, open_)
        return
    from prerlkit.report.build import build

    target = output or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    check_page(target, "-o")
    text = build(runs).render()
    write_page(target, text, "-o")
    echo(f"{target}  ({len(text.encode()) / 1e6:.1f} MB)")
    if open_:
        address = target.resolve().as_uri()
        _open(address, address)


def _serve(runs: Sequence[Path], port: int, open_: bool) -> None:
    from prerlkit.report.serve import server

    try:
        with server(runs, port) as serving, tempfile.TemporaryDirectory(prefix="prerlkit-report-") as private:
            echo(f"{serving.address}  (Ctrl-C ends it; the run continues)")
            if open_:
                # By a file of this user: every user can read the command line of a browser that is started.
                page = Path(private, "open.html")
                page.write_text(f'<meta http-equiv="refresh" content="0; url={serving.address}">', encoding="utf-8")
                _open(page.as_uri(), serving.address)
            serving.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        echo("ended")


def _open(address: str, shown: str) -> None:
    """Open `address` in the browser. Where none can be opened, print `shown`, the address for a person to open."""
    import webbrowser

    if not webbrowser.open(address):
        echo(f"no browser can be opened from here: open {shown} yourself", err=True)
