"""Made-up texts that the laboratory's base model is trained on: tasks with attempts, some of them reflected upon.

    fast : 3 4 9 get 33 :   9 * 4 = 36 , 36 - 3 = 33 .
    slow : 3 4 9 get 33 :   9 * 4 = 36 , 36 + 3 = 39 . wait , 39 is not 33 . alternatively 9 * 4 = 36 , 36 - 3 = 33 .
                            check that 33 is 33 . done

`wait` is a reflection, `alternatively` a transition and `check that` a verification, as the kit counts thoughts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from prerlkit.data.reach import LARGEST, Puzzle, expressions

_WORDS = ("fast", "slow", "get", "wait", "alternatively", "check", "that", "is", "not", "done")
WORDS = (*map(str, range(LARGEST + 1)), *"+-*=,.:", *_WORDS)
"""Every word of the task."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """What the texts look like, as shares of texts.

    Attributes:
        right: probability that an attempt is chosen among those that hit the target; otherwise it is any attempt.
        slow: texts of several attempts.
        promptless: texts without their prompt, so that log P(y) is something the model was trained on.
        leak: slow texts under the prompt `fast`. RL sees this prompt only: this is how much latent reflection it finds.
        give_up: slow texts that end after a miss.
        attempts: the most attempts in a slow text.
        retry: `right` of the attempts after a miss; None: the same. It decides how much reflection is worth.
    """

    right: float = 0.5
    slow: float = 0.25
    promptless: float = 0.13
    leak: float = 0.09
    give_up: float = 0.05
    attempts: int = 4
    retry: float | None = None


def prompt(problem: Puzzle, mode: str, rng: random.Random) -> str:
    """Return the prompt, its numbers in random order."""
    numbers = list(problem.numbers)
    rng.shuffle(numbers)
    return f"{mode} : {' '.join(map(str, numbers))} get {problem.target} :"


def text(problems: tuple[Puzzle, ...], mixture: Mixture, kind: str, rng: random.Random) -> tuple[str, str]:
    """Return (prompt or "", completion) of one text of that kind, `fast` or `slow`, about a random problem."""
    problem = rng.choice(problems)
    draw = rng.random()
    completion = _slow(problem, mixture, rng) if kind == "slow" else _attempt(problem, mixture.right, rng)[0]
    if draw < mixture.promptless:
        return "", completion
    leaked = kind == "slow" and draw < mixture.promptless + mixture.leak
    return prompt(problem, "fast" if leaked else kind, rng), completion


def _slow(problem: Puzzle, mixture: Mixture, rng: random.Random) -> str:
    parts = []
    retry = mixture.right if mixture.retry is None else mixture.retry
    for place in range(mixture.attempts):
        attempt, result = _attempt(problem, retry if place else mixture.right, rng)
        parts.append(attempt)
        if result == problem.target:
            return " ".join([*parts, f"check that {result} is {problem.target} . done"])
        if place == mixture.attempts - 1 or rng.random() < mixture.give_up:
            break
        parts.append(f"wait , {result} is not {problem.target} ." + (" alternatively" if rng.random() < 0.5 else ""))
    return " ".join(parts)


def _attempt(problem: Puzzle, right: float, rng: random.Random) -> tuple[str, int]:
    every, by_result = _sorted(problem.numbers)
    if rng.random() < right:
        return rng.choice(by_result[problem.target]), problem.target
    return rng.choice(every)


@cache
def _sorted(numbers: tuple[int, int, int]) -> tuple[list[tuple[str, int]], dict[int, list[str]]]:
    """Return (attempts with results, attempts by result)."""
    by_result: dict[int, list[str]] = {}
    for attempt, result in expressions(numbers).items():
        by_result.setdefault(result, []).append(attempt)
    return list(expressions(numbers).items()), by_result
