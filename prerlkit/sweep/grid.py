"""The points of a sweep: each a whole recipe, checked before the first one starts."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import UsageError
from prerlkit.recipe.load import load
from prerlkit.recipe.overrides import split
from prerlkit.recipe.schema import Recipe
from prerlkit.train.validate import check_settings, check_trackers
from prerlkit.trust import left_out

_SEEDS = re.compile(r"(\d+)(?:-(\d+))?")
_LONGEST = 60
_MOST_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep.

    Attributes:
        source: the recipe as it was named on the command line.
        settings: the keys that vary, with this point's values as text.
        overrides: all of `--set`, the seed among them: with `source` they give `recipe`.
        folder: of the run, relative to the sweep's.
    """

    source: str
    recipe: Recipe
    recipe_folder: Path
    settings: Mapping[str, str]
    overrides: tuple[str, ...]
    folder: Path

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.recipe.stages)


def points(sources: Sequence[str], seeds: Sequence[int], settings: Sequence[str], trust: bool = False) -> list[Point]:
    """Every recipe with every combination of settings and every seed; seeds vary fastest.

    Args:
        seeds: empty: each recipe's own.
        settings: `KEY=VALUE` for all points, `KEY=A,B` for one point each.
        trust: allow the code that the recipes bring, and check its settings too.

    Raises:
        UsageError: a recipe or an override of any point is wrong, or two points are the same.
    """
    grid = [_setting(text) for text in settings]
    twice = [key for i, (key, _) in enumerate(grid) if key in [other for other, _ in grid[:i]]]
    if twice or any(key == "seed" for key, _ in grid):
        raise UsageError(
            f"--set {twice[0]} is there twice." if twice else "--set seed: seeds are given by --seeds.",
            "Give all values at once: --set KEY=A,B; and seeds as --seeds 0,1,2 or 0-4.",
        )
    found = []
    for source in sources:
        for values in itertools.product(*(own for _, own in grid)):
            pairs = list(zip([key for key, _ in grid], values, strict=True))
            varying = {key: value for (key, value), (_, own) in zip(pairs, grid, strict=True) if len(own) > 1}
            overrides = tuple(f"{key}={value}" for key, value in pairs)
            found += [_point(source, overrides, varying, seed, len(sources) > 1, trust) for seed in seeds or (None,)]
    folders = [point.folder for point in found]
    if same := [folder for i, folder in enumerate(folders) if folder in folders[:i]]:
        raise UsageError(f"two points of the sweep are the same: {same[0]}", "Give each recipe, value and seed once.")
    return found


def _point(
    source: str, overrides: tuple[str, ...], varying: dict[str, str], seed: int | None, several: bool, trust: bool
) -> Point:
    whole = overrides if seed is None else (*overrides, f"seed={seed}")
    loaded = load(source, whole)
    check_settings(loaded.recipe, loaded.folder, left_out(loaded.recipe, loaded.folder, trust))
    check_trackers(loaded.recipe)
    parts = [loaded.recipe.name] if several else []
    parts += [folder_name(varying)] if varying else []
    folder = Path(*parts, f"seed-{loaded.recipe.seed}")
    return Point(source, loaded.recipe, loaded.folder, varying, whole, folder)


def folder_name(settings: Mapping[str, str]) -> str:
    """A folder's name for the values of the keys that vary: `learning_rate=1e-4,rank=8`."""
    ends = [key.split(".")[-1] for key in settings]
    names = ends if len(set(ends)) == len(ends) else list(settings)
    text = ",".join(f"{name}={value}" for name, value in zip(names, settings.values(), strict=True))
    clean = re.sub(r"[^A-Za-z0-9=,._+-]+", "_", text)
    if clean == text and len(text) <= _LONGEST:
        return text
    return f"{clean[:_LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"  # what was cut still counts


def seed_list(text: str) -> list[int]:
    """`0,1,2` or `0-4` as numbers.

    Raises:
        UsageError: it is neither, or a range is implausibly long.
    """
    seeds: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        match = _SEEDS.fullmatch(part)
        if match is None:
            raise UsageError(f"--seeds {text} is not a list of numbers.", "For example --seeds 0,1,2 or --seeds 0-4.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= _MOST_SEEDS:
            raise UsageError(f"--seeds {text} are more than {_MOST_SEEDS} seeds.", "For example --seeds 0-4.")
        seeds += range(first, last + 1)
    if not seeds:
        raise UsageError(f"--seeds {text} has no seed in it.", "For example --seeds 0,1,2 or --seeds 0-4.")
    return seeds


def _setting(text: str) -> tuple[str, list[str]]:
    parts, values = split(text)
    return ".".join(parts), split_values(values)


def split_values(text: str) -> list[str]:
    """A value's text at its commas, but for those inside of brackets, braces and quotes.

    `1e-4,3e-4` is two values, `[q_proj, v_proj]` one, `grpo,{preset: grpo, loss: cispo}` two.
    """
    values, depth, quote, current = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            values.append(current.strip())
            current = ""
            continue
        current += character
    return [*values, current.strip()]
