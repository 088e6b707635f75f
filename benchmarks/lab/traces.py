"""Made-up texts that the laboratory's base models are trained on: tasks with attempts, some of them reflected upon.

    fast : 3 4 9 get 33 :   9 * 4 = 36 , 36 - 3 = 33 .
    slow : 3 4 9 get 33 :   9 * 4 = 36 , 36 + 3 = 39 . wait , 39 is not 33 . alternatively 9 * 4 = 36 , 36 - 3 = 33 .
                            check that 33 is 33 . done

`wait` is a reflection, `alternatively` a transition and `check that` a verification, as the kit counts thoughts.
A domain decides what a question and an attempt are.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from prerlkit.data.reach import Part

MODES = ("fast", "slow")
THOUGHTS = ("wait", "alternatively", "check", "that", "is", "not", "done")


class Problem(Hashable, Protocol):
    """Has a target."""

    @property
    def target(self) -> int | str: ...


P = TypeVar("P", bound=Problem)


class Domain(Hashable, Protocol[P]):
    """A kind of problem.

    Attributes:
        words: every word of its texts.
        verifier: as a recipe names it.
        miss: what is between an attempt that is not the last one and its `wait`.
    """

    words: tuple[str, ...]
    verifier: str
    miss: str

    def problems(self, part: Part) -> tuple[P, ...]:
        """Return the problems of one of three parts that share none."""

    def question(self, problem: P, rng: random.Random) -> str:
        """Return the prompt without its mode."""

    def attempts(self, problem: P) -> Mapping[str, str]:
        """Return every attempt, without its full stop, with its result; it is right if this is the target."""

    def steps(self, problem: P, text: str) -> list[bool]:
        """Return of each step in a text, such as a sum, whether it is right."""

    def row(self, problem: P, rng: random.Random) -> dict[str, str]:
        """Return the columns that the verifier reads."""

    def write_rows(self, folder: Path) -> None:
        """Write the data files that RL needs."""

    def changes(self, folder: Path) -> dict[str, Any]:
        """Return what RL on this domain changes of the recipe `reach_dsrl`; its data files are in `folder`."""


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


def prompt(domain: Domain[P], problem: P, mode: str, rng: random.Random) -> str:
    """Return the prompt, its parts in random order."""
    return f"{mode} : {domain.question(problem, rng)}"


def text(
    domain: Domain[P], problems: tuple[P, ...], mixture: Mixture, kind: str, rng: random.Random
) -> tuple[str, str]:
    """Return (prompt or "", completion) of one text of that kind, `fast` or `slow`, about a random problem."""
    problem = rng.choice(problems)
    draw = rng.random()
    if kind == "slow":
        completion = _slow(domain, problem, mixture, rng)
    else:
        completion = _attempt(domain, problem, mixture.right, rng)[0] + " ."
    if draw < mixture.promptless:
        return "", completion
    leaked = kind == "slow" and draw < mixture.promptless + mixture.leak
    return prompt(domain, problem, "fast" if leaked else kind, rng), completion


def _slow(domain: Domain[P], problem: P, mixture: Mixture, rng: random.Random) -> str:
    parts: list[str] = []
    retry = mixture.right if mixture.retry is None else mixture.retry
    target = str(problem.target)
    for place in range(mixture.attempts):
        attempt, result = _attempt(domain, problem, retry if place else mixture.right, rng)
        if result == target:
            return " ".join([*parts, f"{attempt} . check that {result} is {target} . done"])
        if place == mixture.attempts - 1 or rng.random() < mixture.give_up:
            break
        parts.append(f"{attempt}{domain.miss} wait , {result} is not {target} .")
        if rng.random() < 0.5:
            parts.append("alternatively")
    return " ".join([*parts, f"{attempt} ."])


def _attempt(domain: Domain[P], problem: P, right: float, rng: random.Random) -> tuple[str, str]:
    every, hits = _sorted(domain, problem)
    return rng.choice(hits if rng.random() < right else every)


@cache
def _sorted(domain: Domain[Any], problem: Problem) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (attempts with results, those that hit the target)."""
    every = list(domain.attempts(problem).items())
    return every, [attempt for attempt in every if attempt[1] == str(problem.target)]
