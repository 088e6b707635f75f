"""How the math verifier does on real gold answers: each passes for itself, however spelled, and not for others.

    python benchmarks/verifiers_agreement.py --data FOLDER [--show 20]

FOLDER holds math_train.parquet (columns problem, answer; 7,500 rows of MATH), gsm8k_train.parquet and
gsm8k_test.parquet (columns question, answer; the gold answer stands after ####). Prints a line for each set and way of
writing, and the rows that came out otherwise than they should.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prerlkit.verify import VerifierInput
from prerlkit.verify.gold import outcome
from prerlkit.verify.mathematics.normal import compact, normal
from prerlkit.verify.pool.runner import Runner

WAYS = {
    "boxed": "So the answer is $\\boxed{{{}}}$.",
    "formula": "Therefore we get ${}$.",
    "said": "The final answer is: {}",
    "hashes": "6 * 7 = 42\n#### {}",
}


@dataclass(frozen=True)
class Use:
    """The math verifier as a recipe would use it."""

    name: str = "math"
    settings: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    timeout: float = 5.0
    environment: tuple[str, ...] = ()


def gold_answers(folder: Path) -> dict[str, list[str]]:
    """The gold answers of each set, by its name."""
    sets = {"MATH train": pq.read_table(folder / "math_train.parquet")["answer"].to_pylist()}
    for part in ("train", "test"):
        answers = pq.read_table(folder / f"gsm8k_{part}.parquet")["answer"].to_pylist()
        sets[f"GSM8K {part}"] = [answer.rpartition("####")[2].strip() for answer in answers]
    return sets


def respelled(gold: str) -> str:
    """The same answer as another hand would write it: other fractions, stretched brackets, spaces, bmatrix."""
    text = re.sub(
        r",(?!\d{3})", ", ", gold.replace(r"\frac", r"\dfrac").replace("pmatrix", "bmatrix").replace("&", " & ")
    )
    text = re.sub(r"(?<!\\)\(", r"\\left(", text)
    return re.sub(r"(?<!\\)\)", r"\\right)", text).replace("+", " + ")


def measure(runner: Runner, title: str, samples: list[VerifierInput], expect: str, show: int) -> None:
    """Judge samples, print how many came out as they should, and those that didn't."""
    started = time.perf_counter()
    outcomes = [outcome(verdict) for verdict in runner.judge(samples)]
    milliseconds = 1000 * (time.perf_counter() - started) / len(samples)
    counts = Counter(outcomes)
    print(f"{title:42} {dict(sorted(counts.items()))}, {milliseconds:.2f} ms each", flush=True)
    wrong = [(sample, result) for sample, result in zip(samples, outcomes, strict=True) if result != expect]
    for sample, result in wrong[:show]:
        print(f"    {result:8} gold {sample.answer!r}, completion {sample.completion!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", type=int, default=20)
    options = parser.parse_args()
    with Runner([Use()]) as runner:
        for name, golds in gold_answers(options.data).items():
            for way, text in WAYS.items():
                samples = [VerifierInput("", text.format(gold), gold) for gold in golds]
                measure(runner, f"{name}, own answer, {way}", samples, "pass", options.show)
            samples = [VerifierInput("", WAYS["boxed"].format(respelled(gold)), gold) for gold in golds]
            measure(runner, f"{name}, own answer, spelled otherwise", samples, "pass", options.show)
            samples = [VerifierInput("", WAYS["boxed"].format(f"{gold}+1"), gold) for gold in golds]
            measure(runner, f"{name}, own answer + 1", samples, "fail", options.show)
            others = random.Random(0).sample(golds, len(golds))
            pairs = [(g, o) for g, o in zip(golds, others, strict=True) if compact(normal(g)) != compact(normal(o))]
            samples = [VerifierInput("", WAYS["boxed"].format(other), gold) for gold, other in pairs]
            measure(runner, f"{name}, another's answer, boxed", samples, "fail", options.show)
        print(runner.stats()["math"])


if __name__ == "__main__":
    main()
