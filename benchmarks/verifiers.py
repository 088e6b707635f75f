"""Verdicts a second of each built-in verifier, and what the runner adds to a verdict of a pure one.

    python -m benchmarks.verifiers [--quick] [--json FILE] [--workers 2]

A verifier's samples go through the runner as in training: worker processes, JSON over pipes, results in order. The
first judgement loads libraries and isn't counted. `alone` is one verdict in this process, without the runner. The
runner's overhead is measured with a verifier that does nothing, on samples of 2,000 characters. `--quick`: a tenth of
the samples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prerlkit.recipe.schema import VerifierConfig
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import FoundVerifier, known, make

_THINK = "We add the numbers one by one and keep the sum in mind. " * 20
_NOTHING = """
from prerlkit.verify import Verdict, Verifier

class Nothing(Verifier):
    name = "nothing"
    needs_answer = False
    def judge(self, sample): return Verdict.of(True)
"""
_SCHEMA = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}
_SUM = {"task": "chain_sum", "question": "4 + 3 =", "answer": "7", "metadata": {}}

Workload = tuple[dict[str, Any], Callable[[int], VerifierInput]]
WORKLOADS: dict[str, Workload] = {
    "math": ({}, lambda n: VerifierInput("", rf"{_THINK}\boxed{{{n % 7}}}", "3")),
    "math, algebra": ({}, lambda n: VerifierInput("", rf"{_THINK}\boxed{{(x+{n})^2}}", r"x^2+6x+9")),
    "regex": ({"pattern": r"answer is (\d+)"}, lambda n: VerifierInput("", f"{_THINK} The answer is {n % 7}", "3")),
    "format": ({}, lambda n: VerifierInput("", f"<think>{_THINK}</think><answer>{n}</answer>")),
    "length": ({"max_tokens": 300}, lambda n: VerifierInput("", _THINK, tokens=200 + n % 200)),
    "choice": ({}, lambda n: VerifierInput("", f"{_THINK} The answer is ({'ABCD'[n % 4]}).", "B")),
    "json_schema": ({"rules": _SCHEMA}, lambda n: VerifierInput("", json.dumps({"name": "Ada", "age": n}))),
    "reasoning_gym": ({}, lambda n: VerifierInput("", f"{_THINK}<answer>{n % 9}</answer>", "7", _SUM)),
    "python": ({"function": "prerlkit.verifiers.python:_equal"}, lambda n: VerifierInput("", str(n % 7), "3")),
}
"""By a verifier's name, and after a comma what is particular: its settings, and the n-th sample."""


def measure(name: str, workload: Workload, count: int, workers: int) -> dict[str, float]:
    """Verdicts a second through the runner, and milliseconds of one verdict without it."""
    settings, sample = workload
    samples = [sample(n) for n in range(count)]
    with Runner([VerifierConfig(name=name, settings=settings, timeout=30.0)], workers=workers) as runner:
        runner.judge(samples[: 20 * workers])
        begun = time.perf_counter()
        runner.judge(samples)
        seconds = time.perf_counter() - begun
    verifier = make(name, settings)
    alone = samples[: max(1, count // 10)]
    verifier.judge(alone[0])
    begun = time.perf_counter()
    for one in alone:
        verifier.judge(one)
    return {
        "verdicts_per_second": count / seconds,
        "milliseconds": 1000 * seconds / count,
        "alone_milliseconds": 1000 * (time.perf_counter() - begun) / len(alone),
    }


def overhead(count: int) -> float:
    """Milliseconds that the runner adds to a verdict, amortised: wall time of a verifier of nothing, one worker."""
    samples = [VerifierInput("p" * 500, "c" * 2000, "42", {"question": "q" * 300})] * count
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "nothing.py").write_text(_NOTHING)
        with Runner([VerifierConfig(name=str(Path(folder) / "nothing.py"))], workers=1) as runner:
            runner.judge(samples[:100])
            begun = time.perf_counter()
            runner.judge(samples)
            return 1000 * (time.perf_counter() - begun) / count


def from_gold_cases(name: str) -> Workload | None:
    """For a built-in without its own workload: those of its gold cases that need no settings."""
    cases = [case for case in make(name, {}).gold if not case.settings]
    return ({}, lambda n: cases[n % len(cases)].sample) if cases else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    share = 10 if options.quick else 1
    added = overhead(5000 // share)
    print(f"{'the runner adds':16} {added:8.3f} ms to a verdict")
    workloads = dict(WORKLOADS)
    for found in known().values():
        built_in = isinstance(found, FoundVerifier) and found.verifier.__module__.startswith("prerlkit.verifiers")
        if built_in and found.name not in workloads and (workload := from_gold_cases(found.name)):
            workloads[found.name] = workload
    results = {}
    for name, workload in workloads.items():
        count = {"math, algebra": 1000, "code": 200}.get(name, 4000) // share
        results[name] = measure(name.partition(",")[0], workload, count, options.workers)
        print(
            f"{name:16} {results[name]['verdicts_per_second']:8.0f} verdicts/s, {results[name]['milliseconds']:.3f} ms "
            f"each; alone {results[name]['alone_milliseconds']:.3f} ms",
            flush=True,
        )
    if options.json:
        machine = {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "workers": options.workers,
        }
        options.json.write_text(
            json.dumps({"machine": machine, "overhead_milliseconds": added, "verifiers": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
