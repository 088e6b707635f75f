"""What a person sees of a sweep: a table of its runs that goes along on a terminal, a line a change in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from prerlkit.metrics.catalogue import REWARD
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import read_last_line
from prerlkit.sweep.manifest import Entry, log_path

_LOOKS = {"completed": "green", "failed": "red", "running": "cyan", "stopped": "yellow"}
_ROWS = 30
"""A table that goes along has at most so many; in a larger sweep it shows what is going on or went wrong."""
_EVERY = 2.0


class SweepDisplay:
    """Draws the table on a terminal; prints a line a change elsewhere."""

    def __init__(self, console: Console, entries: Sequence[Entry], folder: Path) -> None:
        self._console, self._entries, self._folder = console, entries, folder
        self._live: Live | None = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        done = sum(entry.before for entry in self._entries)
        self._say(f"{len(self._entries)} runs in {self._folder}" + (f", {done} finished before" if done else ""))
        for entry in self._entries:
            for line in entry.changes:
                self._say(f"{entry.point.folder}: {line}")
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def changed(self, entry: Entry) -> None:
        """A run started or ended."""
        text = f"{entry.point.folder}: {entry.state}"
        if entry.state == "running":
            text += f": {entry.error}" if entry.error else f", log {self._folder / log_path(entry.point)}"
        else:
            text += f" after {duration(entry.seconds)}" + (f": {entry.error}" if entry.error else "")
        self._say(text)

    def on_message(self, text: str) -> None:
        """Something a person should know once."""
        self._say(f"· {text}")

    def tick(self) -> None:
        """Draw the table again, when it is time."""
        if self._live and time.monotonic() - self._drawn > _EVERY:
            self._drawn = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        return points_table(self._entries, self._folder, short=True)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def points_table(entries: Sequence[Entry], folder: Path, *, short: bool = False) -> Table:
    """A row a run: its state, how far it is, its last reward and accuracy."""
    done = sum(entry.state == "completed" for entry in entries)
    table = Table(title=escape(f"{folder}: {done} of {len(entries)} completed"), title_justify="left")
    table.add_column("run", overflow="fold")
    for column in ("state", "steps", "reward", "accuracy", "time"):
        table.add_column(column, justify="right")
    shown = entries
    if short and len(entries) > _ROWS:
        shown = [entry for entry in entries if entry.state in ("running", "failed", "stopped")][-_ROWS:]
    for entry in shown:
        run = RunFiles(folder / entry.point.folder)
        step, evaluation = read_last_line(run.metrics), read_last_line(run.evaluations)
        accuracy = (evaluation.get("accuracy") or evaluation.get("average") or {}).get("value")
        table.add_row(
            escape(str(entry.point.folder)),
            f"[{_LOOKS.get(entry.state, '')}]{entry.state}[/]" if entry.state in _LOOKS else entry.state,
            f"{step.get('step', 0)}/{entry.point.steps}",
            _number(step.get(REWARD.name), "{:.3f}"),
            "–" if accuracy is None else f"{100 * accuracy:.1f} %",
            duration(time.monotonic() - entry.begun if entry.state == "running" else entry.seconds)
            if entry.begun
            else "–",
        )
    return table


def duration(seconds: float) -> str:
    """`4 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
