"""A first stage that is taken from another run (`from`) instead of being trained: its weights, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prerlkit.errors import UsageError
from prerlkit.policy.adapters import weights_digest
from prerlkit.policy.identity import check_base
from prerlkit.policy.save import WEIGHTS
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.runs.run import Run
from prerlkit.suggest import nearest


@dataclass(frozen=True, slots=True)
class TakenStage:
    """The adapter of another run's finished stage.

    Attributes:
        place: `RUN:STAGE`.
        tensors: its factors, under PEFT's file names.
    """

    place: str
    tensors: dict[str, Tensor]

    @property
    def note(self) -> str:
        """A line for the log."""
        return f"taken from {self.place}, SHA-256 of its weights {weights_digest(self.tensors)[:12]}"


def take_stage(recipe: Recipe, recipe_folder: Path | None, base: str) -> TakenStage | None:
    """Return the adapter that the first stage's `from` names; None without `from`.

    Args:
        recipe_folder: relative paths are taken from the working directory, then from here.
        base: folder of this run's base model.

    Raises:
        UsageError: no such run or stage, one that is not finished, or one that does not fit this recipe.
    """
    stage = recipe.stages[0]
    if stage.source is None:
        return None
    key = f'stages: "{stage.name}".from'
    run, name = _find(stage.source, stage.name, recipe_folder, key)
    recorded = load(str(run.files.recipe)).recipe
    place = f"{run.folder}:{name}"
    _check_fits(recipe, stage, recorded, name, place, key)
    fingerprint = run.environment.get("model", {}).get("fingerprint")
    if fingerprint:
        check_base(fingerprint, base, adapter=place, base=recipe.model.id)
    file = run.files.adapters / name / WEIGHTS
    if not file.is_file():
        raise UsageError(
            f"{key}: {place} is not finished: there is no {file}.", f"Finish it: prerlkit resume {run.folder}."
        )
    try:
        return TakenStage(place, load_file(file))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{key}: {file} can't be read: {error}", "Restore the run folder from a copy.") from error


def _find(source: str, own: str, recipe_folder: Path | None, key: str) -> tuple[Run, str]:
    """Return the run and the name of its stage, by default that of this recipe's stage."""
    whole, _, last = source.rpartition(":")
    for text, name in ((source, own), (whole, last)):
        for place in (Path(text), *([recipe_folder / text] if recipe_folder else [])):
            if text and place.is_dir():
                run = Run.open(place)
                names = [str(stage["name"]) for stage in run.recipe.get("stages") or ()]
                if name not in names:
                    raise UsageError(
                        f'{key}: {place} has no stage "{name}"{nearest(name, names)}',
                        f"Name one of its stages: {place}:{names[0]}." if names else "Name another run.",
                    )
                return run, name
    raise UsageError(f"{key}: there is no run folder {source}.", "Give the folder of a run, or FOLDER:STAGE.")


def _check_fits(recipe: Recipe, stage: Stage, recorded: Recipe, name: str, place: str, key: str) -> None:
    index = [other.name for other in recorded.stages].index(name)
    theirs = recorded.stages[index]
    while index and recorded.stages[index].reincarnation == "continue":
        index -= 1
    if index:
        raise UsageError(
            f'{key}: the adapter of {place} lies on that of "{recorded.stages[index - 1].name}", and is not the policy '
            "alone.",
            "Take a stage that a run began with, or one that continues it.",
        )
    own, other = stage.adapter.model_dump(), theirs.adapter.model_dump()
    if different := [f"{k} {other[k]!r} there, {own[k]!r} here" for k in own if own[k] != other[k]]:
        raise UsageError(
            f"{key}: the adapter of {place} has other settings: {'; '.join(different)}.",
            "Set the stage's `adapter` as it is there.",
        )
    if recipe.model.quantization != recorded.model.quantization:
        raise UsageError(
            f"{key}: {place} was trained on a base with model.quantization {recorded.model.quantization}, this recipe "
            f"has {recipe.model.quantization}.",
            "Use the same quantization.",
        )
