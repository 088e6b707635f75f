"""What every benchmark shares: options, ratios of two ways taken in turns, a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

Ratios = dict[str, float]


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the options that all benchmarks have."""
    parser.add_argument("--repeats", type=int, default=15, help="pairs to time")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, to see that it runs")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 3
    return options


def ratios(theirs: Callable[[], object], ours: Callable[[], object], repeats: int) -> Ratios:
    """Seconds of `theirs` / seconds of `ours`, the two in turns so that a busy machine hits both alike."""
    theirs(), ours()  # first calls allocate and load
    found = []
    for _ in range(repeats):
        found.append(_seconds(theirs) / _seconds(ours))
    return {"min": min(found), "median": statistics.median(found), "max": max(found)}


def report(title: str, found: Mapping[str, Ratios], settings: Mapping[str, Any], path: Path | None) -> None:
    """Print a table of ratios, and write them as JSON where a path is given."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("", "min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in found.items():
        table.add_row(name, *(f"{values[key]:.2f}" for key in ("min", "median", "max")))
    Console().print(table)
    if path:
        versions = {name: metadata.version(name) for name in ("torch", "transformers", "peft")}
        machine = {"machine": platform.machine(), "cpus": os.cpu_count()}
        content = {"ratios": found, "settings": {**machine, **settings}, "versions": versions}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Seconds of `call` after a first time that isn't counted."""
    call()
    return statistics.median(_seconds(call) for _ in range(repeats))


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
