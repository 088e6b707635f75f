"""What the math verifier says, against what it should: on judged cases, on changed and on rewritten gold answers.

    python -m benchmarks.verdicts [--cases FILE] [--gold FILE ...] [--count 10000] [--seed 1] [--show 20]
                                [--json FILE]

`--cases`: JSON lines with `verifier`, `settings`, `row` (its completion, answer and other columns) and `expected`
(pass, fail or unjudged). `--gold`: parquet files with a column `answer`; of GSM8K's, what follows `####` counts. Of the
gold answers, each distinct one is judged against constant texts, `--count` are changed in one symbol, which must fail,
and as many are written in another way, which must pass.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.answer_changes import changed, rewritten
from prerlkit.verify import Verifier, VerifierInput
from prerlkit.verify.gold import outcome
from prerlkit.verify.registry import make

CONSTANTS = [
    *(str(n) for n in range(-1, 13)),
    *["100", "1000", "0.5", "-0", "00", "1/2", "\\frac{1}{2}", "\\frac{0}{0}", "1/0", "0/0", "."],
    *["a", "b", "c", "n", "x", "y", "z", "A", "B", "C", "D", "E", "e", "i", "\\pi", "\\infty", "-\\infty"],
    "x^2+1=0", "x=x", "x=y", "0=0", "1=1", "y=0", "x+1=x", "x^2=-1", "x=x+1", "x=1,y=2", "f(x)=0", "2x=4",
    r"\emptyset", r"\{\}", r"\varnothing", "()", "[]", "(,)", r"(-\infty,\infty)", "[0,1]", "(0,1)", r"[0,\infty)",
    r"\mathbb{R}", r"\text{all real numbers}", "no solution", "none", "yes", "no", "true", "even", "undefined",
    "x>0", "x<0", r"x \ne 0", r"x \in \mathbb{R}", r"x\ge 0", "0<x<1", r"\pm 1", "1,-1", "1,2", "1,2,3",
    r"1 \text{ or } 2",
    "5 is wrong", "5 or more", "1\\%", "50\\%", "100\\%", "5x", "5 million", "five", "1e400", "nan", "inf", "NaN",
    r"\boxed{}", r"\text{answer}", "answer", "the answer", r"\frac{x}{x}", "x-x", "x/x", r"\sqrt{x^2}",
    r"|x|", "x^0", "0^0",
    r"\sum_{n} x", r"\int x", r"\lim x", "1:1", "1:2", "12:00", "10_2", r"\begin{pmatrix}0\\0\end{pmatrix}",
    "*", "?", "-", "{", "}",
]  # fmt: skip
"""Texts that a policy could write whatever the problem is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--gold", type=Path, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.cases:
        judge_cases(options.cases, options.show)
    results = {}
    for path in options.gold:
        answers = gold_answers(path)
        print(f"{path.name}: {len(answers)} gold answers")
        results[path.name] = {
            "constants": judge_constants(answers),
            "changed": judge_variants("one symbol changed", changed, "fail", answers, options),
            "rewritten": judge_variants("written otherwise", rewritten, "pass", answers, options),
        }
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def gold_answers(path: Path) -> list[str]:
    """Return the gold answers of a parquet file; of a solution that ends with `#### answer`, the answer."""
    answers = pq.read_table(path)["answer"].to_pylist()
    return [answer.rpartition("####")[2].strip() for answer in answers]


def judge_cases(path: Path, show: int) -> None:
    """Print how many cases of each verifier come out as expected, and those that don't."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    wrong = []
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        name, row = case["verifier"], case["row"]
        total[name] += 1
        found = judge(make(name, case["settings"] or {}), row.get("completion", ""), row.get("answer"), row)
        if found == case["expected"]:
            right[name] += 1
        else:
            wrong.append(
                f"{name}: {found} for {case['expected']}, gold {row.get('answer')!r}, {row['completion'][-100:]!r}"
            )
    for name, count in total.items():
        print(f"{name:12} {right[name]} of {count} cases as expected")
    print(*(f"    {line}" for line in wrong[:show]), sep="\n")


def judge(verifier: Verifier, completion: str, answer: str | None, row: dict[str, Any]) -> str:
    """Return pass, fail or unjudged; an exception is unjudged, as in a worker."""
    try:
        return outcome(verifier.judge(VerifierInput(row.get("prompt", ""), completion, answer, row)))
    except Exception:  # noqa: BLE001 - what a worker makes unjudged
        return "unjudged"


def judge_constants(answers: list[str]) -> dict[str, int]:
    """Print the constant texts that pass for most distinct gold answers, and return for how many each passes."""
    verifier = make("math", {})
    distinct = Counter(answers)
    passed = Counter(
        {
            text: sum(judge(verifier, f"$\\boxed{{{text}}}$", gold, {}) == "pass" for gold in distinct)
            for text in CONSTANTS
        }
    )
    most = ", ".join(f"{text!r} {count}" for text, count in passed.most_common(5))
    print(f"    {len(CONSTANTS)} constant texts pass for at most so many distinct gold answers: {most}")
    return dict(passed)


def judge_variants(
    title: str,
    write: Callable[[str, random.Random], tuple[str, str] | None],
    expected: str,
    answers: list[str],
    options: argparse.Namespace,
) -> list[str]:
    """Print how many variants of gold answers come out as expected, and return those that don't."""
    verifier = make("math", {})
    begun, wrong = time.perf_counter(), []
    for gold, way, text in variants(write, answers, options.count, options.seed):
        if (found := judge(verifier, f"So the answer is $\\boxed{{{text}}}$.", gold, {})) != expected:
            wrong.append((found, f"{found} ({way}): gold {gold!r}, answer {text!r}"))
    counts = dict(Counter(found for found, _ in wrong))
    milliseconds = 1000 * (time.perf_counter() - begun) / options.count
    print(
        f"    {title}: {options.count - len(wrong)} of {options.count} {expected}, {counts}, {milliseconds:.2f} ms each"
    )
    print(*(f"        {line}" for _, line in wrong[: options.show]), sep="\n")
    return [line for _, line in wrong]


def variants(
    write: Callable[[str, random.Random], tuple[str, str] | None], answers: list[str], count: int, seed: int
) -> Iterator[tuple[str, str, str]]:
    """Yield so many gold answers with the name of a way of writing and the answer written so."""
    source = random.Random(seed)
    while count:
        gold = source.choice(answers)
        if (variant := write(gold, source)) is not None:
            count -= 1
            yield gold, *variant


if __name__ == "__main__":
    main()
