"""Check that a resume changes nothing: run the same steps twice, once in two parts, and compare the bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prerlkit.engines.registry import engine_of
from prerlkit.errors import UsageError
from prerlkit.metrics.metric import UNREPEATABLE
from prerlkit.recipe.plugins import bind
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.jsonl import read_lines
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run
from prerlkit.types import StepRecord


@dataclass(frozen=True, slots=True)
class ResumeProof:
    """Files that are equal, differences in words, and what this machine can't promise."""

    equal: tuple[str, ...]
    different: tuple[str, ...]
    notes: tuple[str, ...]


def shorten(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with at most `steps` steps over its stages (each has one), and 8 prompts per evaluation."""
    left, stages = steps, []
    for place, stage in enumerate(recipe.stages):
        share = max(1, min(stage.steps, left // (len(recipe.stages) - place)))
        left -= share
        stages.append(stage.model_copy(update={"steps": share}))
    evaluation = recipe.evaluation.model_copy(update={"prompts": min(8, recipe.evaluation.prompts)})
    return recipe.model_copy(update={"stages": tuple(stages), "evaluation": evaluation})


def prove(
    recipe: Recipe,
    recipe_folder: Path | None,
    stop_after: int,
    *,
    keep: Path | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> ResumeProof:
    """Run `recipe` straight, and again in two parts with a stop after `stop_after` steps.

    Args:
        keep: where the two run folders stay; must not exist. None: they are deleted.
        report: called with a line about the part that is under way.
    """
    if keep is not None and keep.exists():
        raise UsageError(f"{keep} exists.", "Give --keep a new folder.")
    with _place(keep) as place:
        report("1 of 3: straight")
        _part(recipe, recipe_folder, place / "straight", None)
        report(f"2 of 3: stopped after step {stop_after}")
        _part(recipe, recipe_folder, place / "parts", stop_after)
        report("3 of 3: resumed")
        _scramble_generators()
        run(
            recipe,
            place / "parts",
            recipe_folder=recipe_folder,
            callback=SilentCallback(),
            stop=StopSignal(),
            existing="resume",
        )
        return compare(place / "straight", place / "parts", _notes(bind(recipe, recipe_folder)))


class _StopAfter(SilentCallback):
    def __init__(self, stop: StopSignal, step: int | None) -> None:
        self._stop, self._step = stop, step

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        if record.step == self._step:
            self._stop.request()


def _part(recipe: Recipe, recipe_folder: Path | None, folder: Path, stop_after: int | None) -> None:
    stop = StopSignal()
    run(recipe, folder, recipe_folder=recipe_folder, callback=_StopAfter(stop, stop_after), stop=stop)


def _scramble_generators() -> None:
    """Give the generators states that are unrelated to the first part's, as another process would have."""
    import random

    import numpy as np

    random.seed(987654321)
    np.random.seed(987654321)
    torch.manual_seed(987654321)


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="prerlkit-resume-") as folder:
        yield Path(folder)


def compare(straight: Path, parts: Path, notes: tuple[str, ...] = ()) -> ResumeProof:
    """Compare the files of two finished run folders: adapters, the last checkpoint, samples, probes and metrics."""
    equal, different = [], []
    checkpoint = max((straight / "checkpoints").iterdir(), key=lambda path: path.name).relative_to(straight)
    files = [
        *sorted(
            p.relative_to(straight) for folder in ("adapter", "adapters") for p in (straight / folder).rglob("*.*")
        ),
        *sorted(p.relative_to(straight) for p in (straight / checkpoint).glob("*.safetensors")),
        Path("samples.jsonl"),
        *(Path(name) for name in ("probes.jsonl",) if (straight / name).is_file()),
    ]
    for file in files:
        if not (parts / file).is_file():
            different.append(f"{file}: missing in the resumed run")
        elif (straight / file).read_bytes() != (parts / file).read_bytes():
            different.append(f"{file}: bytes differ")
        else:
            equal.append(str(file))
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        first, second = _lines(straight / name), _lines(parts / name)
        if first == second:
            equal.append(f"{name} (times and memory aside)")
        else:
            different.append(f"{name}: {_first_difference(first, second)}")
    return ResumeProof(tuple(equal), tuple(different), notes)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a jsonl file without times and memory."""
    aside = (*UNREPEATABLE, "seconds")
    return [{k: v for k, v in line.items() if not k.startswith(aside)} for line in read_lines(path)]


def _first_difference(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> str:
    if len(first) != len(second):
        return f"{len(first)} lines straight, {len(second)} in parts"
    for number, (a, b) in enumerate(zip(first, second, strict=True), 1):
        for key in {**a, **b}:
            if a.get(key) != b.get(key):
                return f"line {number}, {key}: {a.get(key)!r} straight, {b.get(key)!r} in parts"
    return "no difference"


def _notes(recipe: Recipe) -> tuple[str, ...]:
    notes = []
    if not engine_of(recipe).in_process:
        notes.append(
            f"engine {recipe.rollout.engine}: equal bytes are not promised. Its log-probs depend on what it decodes "
            "together, so that a sample may come out otherwise; order, position and optimizer are exact all the same."
        )
    if torch.cuda.is_available() and recipe.model.device != "cpu":
        notes.append("CUDA: equal bytes are not promised, as some of its sums have no fixed order.")
    return tuple(notes)
