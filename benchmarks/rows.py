"""How a start grows with the rows of the data: `python -m benchmarks.rows [--rows N ...] [--model quickstart]`.

Each start is a separate process: `prerlkit run` on a generated file, measured from the start of the process until the
first step has its first completion, then ended. Memory is the most that was resident by then (VmHWM). A start computes
on one core: on an idle machine its seconds are those of the CPU, and with other work on the machine only the latter
say something.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prerlkit.launch import Launch, run_recipe
from prerlkit.recipe.load import load
from prerlkit.train.callbacks import SilentCallback

MODELS = {
    "reach": ("reach_dsrl", ["data.chat=false", "rollout.max_prompt_tokens=256", "stages.warmup.until=null"]),
    "quickstart": ("quickstart_dsrl", ["rollout.max_prompt_tokens=256"]),
}
"""The recipe that gives the model, and what is changed in it: `reach` has plain prompts and 0.8M parameters,
`quickstart` the chat template and the tokenizer of SmolLM2-135M-Instruct."""
ROWS_AT_ONCE = 10_000


def rows(count: int) -> Iterator[list[dict[str, str]]]:
    """Yield `count` distinct problems of two columns, some thousand at a time."""
    for first in range(0, count, ROWS_AT_ONCE):
        numbers = range(first, min(count, first + ROWS_AT_ONCE))
        yield [
            {
                "prompt": f"A shop has {n} pens and buys {n % 97} more. How many pens has it then?",
                "answer": str(n + n % 97),
            }
            for n in numbers
        ]


def write(path: Path, count: int) -> None:
    """Write the rows as jsonl or parquet, by the path's ending."""
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for part in rows(count):
                file.writelines(json.dumps(row) + "\n" for row in part)
        return
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("prompt", pyarrow.string()), ("answer", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for part in rows(count):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))


class Until(SilentCallback):
    """Prints what was needed until the first completion, and ends the process: nothing else is measured."""

    def __init__(self, begun: float) -> None:
        self._begun = begun

    def on_message(self, text: str) -> None:
        print(f"{time.process_time():7.1f} s  {_peak():5.0f} MiB  {text}", file=sys.stderr, flush=True)

    def progress(self, what: str, done: int, total: int) -> None:
        if what == "rollout":
            figures = {"seconds": time.time() - self._begun, "cpu": time.process_time(), "MiB": _peak()}
            print(json.dumps(figures), flush=True)
            os._exit(0)


def start(model: str, data: Path, output: Path, begun: float) -> None:
    """Start the run; this never returns."""
    name, changes = MODELS[model]
    source = {"kind": "file", "path": str(data)}
    settings = {"train": source, "eval": {"kind": "held_out", "rows": 128}, "prompt": "{prompt}", "answer": "answer"}
    verifiers: list[dict[str, Any]] = [{"name": "math", "settings": {"extract": "last_number"}}]
    recipe = load(
        name,
        [
            *(f"data.{key}={json.dumps(value)}" for key, value in settings.items()),
            f"verifiers={json.dumps(verifiers)}",
            "evaluation.when=[]",
            *changes,
        ],
    ).recipe
    run_recipe(Launch(recipe, None, output), Until(begun))


def _peak() -> float:
    """The most resident memory so far, MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["jsonl", "parquet"])
    parser.add_argument("--model", choices=MODELS, default="reach")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--start", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        data, output, begun = options.start
        start(options.model, Path(data), Path(output), float(begun))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            for count in options.rows:
                data = Path(folder) / f"rows-{count}.{kind}"
                write(data, count)
                command = [sys.executable, "-m", "benchmarks.rows", "--model", options.model, "--start", str(data)]
                done = subprocess.run(
                    [*command, f"{folder}/{kind}-{count}", str(time.time())], stdout=subprocess.PIPE, text=True
                )
                if done.returncode:
                    raise SystemExit(f"the start with {count:,} rows failed; see above")
                figures = json.loads(done.stdout.splitlines()[-1])
                found.append({"kind": kind, "rows": count, **figures})
                times = f"{figures['seconds']:6.1f} s, {figures['cpu']:6.1f} s of the CPU"
                print(f"{kind:>8} {count:>10,} rows  {times}  {figures['MiB']:6.0f} MiB", flush=True)
                data.unlink()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
