"""The laboratory's task `reach`: combine three numbers by two of + - * to hit a target.

    3 4 9 get 33   →   9 * 4 = 36 , 36 - 3 = 33 .

Every number, sign and result is one word, between spaces, so that a tiny model with 121 words can do it. There are
three parts that share no problem: the packaged base model was trained on `pretraining`, recipes train on
`train` and evaluate on `eval`. The parts never change: `benchmarks/lab` made the base model from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from prerlkit.data.generators import generator
from prerlkit.errors import UsageError
from prerlkit.seeds import derive
from prerlkit.settings import Settings

HIGHEST = 12
"""The numbers of a problem are 1 to HIGHEST."""
LARGEST = 99
"""Largest intermediate or final result; the smallest is 0."""
_RARE = 0.12  # at most this share of a problem's expressions hits the target: guessing fails
_TRAIN, _EVAL = 1000, 400

Numbers = tuple[int, int, int]
Part = Literal["pretraining", "train", "eval"]


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Three numbers in ascending order, and the target."""

    numbers: Numbers
    target: int


def apply(left: int, sign: str, right: int) -> int:
    """Return `left sign right` for one of + - *."""
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    raise ValueError(f"no sign of the task: {sign!r}")


@cache
def expressions(numbers: Numbers) -> Mapping[str, int]:
    """Return every way to combine the numbers, as the text of one attempt, with its result."""
    found = {}
    for a, b, c in sorted(set(itertools.permutations(numbers))):
        for first, second in itertools.product("+-*", repeat=2):
            between = apply(a, first, b)
            result = apply(between, second, c)
            if 0 <= between <= LARGEST and 0 <= result <= LARGEST:
                found[f"{a} {first} {b} = {between} , {between} {second} {c} = {result} ."] = result
    return found


@cache
def problems(part: Part) -> tuple[Puzzle, ...]:
    """Return the problems of that part, in an order that never changes.

    `train` and `eval` hold problems that few expressions solve. `pretraining` holds all the others, easy ones too.
    """
    rare: list[Puzzle] = []
    easy: list[Puzzle] = []
    for numbers in itertools.combinations_with_replacement(range(1, HIGHEST + 1), 3):
        results = list(expressions(numbers).values())
        for target in sorted(set(results) - {0}):
            share = results.count(target) / len(results)
            (rare if share <= _RARE else easy).append(Puzzle(numbers, target))
    draws = np.random.Philox(derive(0, "reach")).random_raw(len(rare))
    shuffled = [rare[int(place)] for place in np.argsort(draws, kind="stable")]
    match part:
        case "train":
            return tuple(shuffled[:_TRAIN])
        case "eval":
            return tuple(shuffled[_TRAIN : _TRAIN + _EVAL])
        case "pretraining":
            return tuple(shuffled[_TRAIN + _EVAL :] + easy)


class PuzzleSettings(Settings):
    """Which problems."""

    part: Part = "train"
    """The packaged base model was trained on pretraining, not on train and eval."""


@generator("reach", PuzzleSettings)
def reach(settings: PuzzleSettings, rows: int, seed: int) -> list[dict[str, Any]]:
    """Columns question (`9 3 4 get 33 :`), answer (`33`), numbers (`9 3 4`) and solution, one that hits the target
    (`9 * 4 = 36 , 36 - 3 = 33 .`); the first `rows` problems of the part.

    The seed decides the order of a question's numbers, and which solution is given.
    """
    exist = problems(settings.part)
    if rows > len(exist):
        raise UsageError(
            f'generator "reach" was asked for {rows} rows, but part {settings.part} has {len(exist)}',
            "Ask for fewer rows, or take another part.",
        )
    draws = np.random.Philox(derive(seed, "reach", settings.part)).random_raw(3 * rows).reshape(rows, 3)
    picks = np.random.Philox(derive(seed, "reach", settings.part, "solution")).random_raw(rows)
    made = []
    for problem, order, pick in zip(exist[:rows], np.argsort(draws, axis=1, kind="stable"), picks, strict=True):
        numbers = " ".join(str(problem.numbers[int(place)]) for place in order)
        answer = str(problem.target)
        hits = [text for text, result in expressions(problem.numbers).items() if result == problem.target]
        solution = hits[int(pick) % len(hits)]
        made.append(
            {"question": f"{numbers} get {answer} :", "answer": answer, "numbers": numbers, "solution": solution}
        )
    return made
