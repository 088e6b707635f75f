"""The command line of the study."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.study.overall import overall
from benchmarks.study.parts import PARTS, TASKS, Part, points_of
from benchmarks.study.records import RECORDS, pack, unpack
from benchmarks.study.tables import tables
from benchmarks.study.tuning import best, finished
from prerlkit.cli.render.sweep import points_table
from prerlkit.cli.sweep import run_points
from prerlkit.errors import PrerlkitError
from prerlkit.quiet import quiet_libraries
from prerlkit.runs.run import Run
from prerlkit.sweep import manifest

_ACTIONS = (
    "plan lists the runs and starts none; overall is one table of every arm over both tasks; pack keeps what finished "
    "runs recorded, unpack lays it into --folder"
)


def _rates(part: Part, task: str, root: Path, *, needed: bool) -> dict[str, tuple[str, ...]]:
    """The tuned learning rates; none before the part `tuning` is finished, if they aren't needed."""
    tuned = finished(PARTS["tuning"], root / f"tuning-{task}") if part.tuned else {}
    return best(tuned) if part.tuned and (needed or len(tuned) == len(PARTS["tuning"].arms)) else {}


def _dtype(task: str, root: Path) -> tuple[str, ...]:
    """The dtype of the task's runs that are there: recipes leave it to the machine, but runs to compare have one."""
    for recipe in sorted(root.glob(f"*-{task}/*/seed-*/recipe.yaml")):
        return (f"model.dtype={Run.open(recipe.parent).recipe['model']['dtype']}",)
    return ()


def _keep(options: argparse.Namespace, part: Part, task: str) -> str:
    """Pack or unpack; says what came of it."""
    if options.action == "pack":
        return str(pack(part, task, options.folder, options.records) or "no finished run to pack")
    laid = unpack(part, task, options.folder, options.records)
    return f"{laid} files laid" if laid else f"nothing laid: no archive in {options.records}, or all its runs are there"


def main() -> int:
    """The exit code: 130 when it was stopped, 1 when a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study")
    parser.add_argument("action", choices=("run", "plan", "tables", "overall", "pack", "unpack"), help=_ACTIONS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, in this order")
    parser.add_argument("--task", action="append", choices=TASKS, help="repeatable; all if left out")
    parser.add_argument("--folder", type=Path, default=Path("runs/study"))
    parser.add_argument("--records", type=Path, default=RECORDS, help="where pack and unpack keep archives")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, a share of the cores each")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run")
    options = parser.parse_args()
    if wrong := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {wrong[0]}; there are {', '.join(PARTS)}")
    if options.folder.is_file():
        parser.error(f"{options.folder} is a file; choose a folder with --folder")
    if options.action == "overall" and (options.parts or options.task):
        parser.error("overall takes no PART and no --task: it is of all of them")
    console = Console()
    chosen = [PARTS[name] for name in options.parts or PARTS]
    try:
        if options.action == "overall":
            sys.stdout.write(overall(options.folder))
            return 0
        for part in chosen:
            for task in options.task or TASKS:
                folder = options.folder / f"{part.name}-{task}"
                if options.action == "tables":
                    sys.stdout.write(tables(part, task, options.folder))
                    continue
                if options.action in ("pack", "unpack"):
                    console.print(f"{part.name}-{task}: {_keep(options, part, task)}")
                    continue
                rates = _rates(part, task, options.folder, needed=options.action == "run")
                settings = (*_dtype(task, options.folder), *options.set)
                entries = manifest.plan(points_of(part, task, rates, settings), folder)
                if options.action == "plan":
                    console.print(points_table(entries, folder))
                elif run_points(console, [part.name], entries, folder, options.jobs):
                    return 130
                elif any(entry.state == "failed" for entry in entries):
                    console.print(points_table(entries, folder))
                    return 1
    except PrerlkitError as error:
        console.print(f"{error.message}\n{error.hint or ''}", style="red")
        return 1
    return 0


if __name__ == "__main__":
    quiet_libraries()
    sys.exit(main())
