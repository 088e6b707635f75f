"""The laboratory's domains, by name: the packaged task `reach`, and `paths`, which has no numbers in it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.lab.paths import Paths
from benchmarks.lab.traces import MODES, THOUGHTS, Domain
from prerlkit.data import reach
from prerlkit.data.reach import LARGEST, Part, Puzzle

_SUM = re.compile(r"([0-9]+) ([-+*]) ([0-9]+) = ([0-9]+)")


class Reach:
    """Three numbers that must hit a target; `prerlkit.data.reach` has the problems."""

    words = (*map(str, range(LARGEST + 1)), *"+-*=,.:", *MODES, "get", *THOUGHTS)
    verifier = "reach"
    miss = " ."

    def problems(self, part: Part) -> tuple[Puzzle, ...]:
        """Return the problems of that part."""
        return reach.problems(part)

    def question(self, problem: Puzzle, rng: random.Random) -> str:
        """Return `3 4 9 get 33 :`, the numbers in random order."""
        numbers = list(problem.numbers)
        rng.shuffle(numbers)
        return f"{' '.join(map(str, numbers))} get {problem.target} :"

    def attempts(self, problem: Puzzle) -> Mapping[str, str]:
        """Return every attempt with its result."""
        return _attempts(problem.numbers)

    def steps(self, problem: Puzzle, text: str) -> list[bool]:
        """Return of each sum in a text whether it is right."""
        sums = [match.groups() for match in _SUM.finditer(text)]
        return [reach.apply(int(left), sign, int(right)) == int(result) for left, sign, right, result in sums]

    def row(self, problem: Puzzle, rng: random.Random) -> dict[str, str]:
        """Return the columns that the verifier reads."""
        return {"answer": str(problem.target), "numbers": " ".join(map(str, problem.numbers))}

    def write_rows(self, folder: Path) -> None:
        """Write nothing: the kit generates the rows."""

    def changes(self, folder: Path) -> dict[str, Any]:
        """Return what RL on this domain changes of the recipe `reach_dsrl`: nothing."""
        return {}


@cache
def _attempts(numbers: reach.Numbers) -> Mapping[str, str]:
    return {attempt.removesuffix(" ."): str(result) for attempt, result in reach.expressions(numbers).items()}


DOMAINS: Mapping[str, Domain[Any]] = {"reach": Reach(), "paths": Paths()}
