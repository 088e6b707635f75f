"""A first stage that is taken from another run or a PEFT folder (`from`) instead of being trained, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prerlkit.errors import UsageError
from prerlkit.policy.adapters import AdapterStack, weights_digest
from prerlkit.policy.identity import check_base
from prerlkit.policy.save import WEIGHTS
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.runs.run import Run
from prerlkit.suggest import nearest
from prerlkit.train.peft_start import is_peft_folder, read_peft_folder


@dataclass(frozen=True, slots=True)
class TakenStage:
    """The adapter of another run's finished stage, or of a PEFT folder.

    Attributes:
        place: `RUN:STAGE`, or the PEFT folder.
        base: the name of its base that a PEFT folder records, which is not checked; null for a run, which is.
        tensors: its factors, under PEFT's file names.
    """

    place: str
    tensors: dict[str, Tensor]
    base: str | None = None

    @property
    def note(self) -> str:
        """A line for the log."""
        text = f"taken from {self.place}, SHA-256 of its weights {weights_digest(self.tensors)[:12]}"
        if self.base is None:
            return text
        return f"{text}; its base is called {self.base or 'nothing'} there, not checked: PEFT keeps no fingerprint"

    def load(self, adapters: AdapterStack, name: str) -> None:
        """Set the adapter of stage `name` to these factors.

        Raises:
            UsageError: they are on other layers, or of other shapes.
        """
        own = {key: tensor.shape for key, tensor in adapters.state(name).items()}
        given = {key: tensor.shape for key, tensor in self.tensors.items()}
        if different := sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k)):
            key = different[0]
            there, here = (tuple(shapes[key]) if key in shapes else "absent" for shapes in (given, own))
            raise UsageError(
                f'stages: "{name}".from: {len(different)} tensors of {self.place} differ from those of the stage\'s '
                f"adapter, such as {key}: {there} there, {here} here.",
                "Set `adapter.targets` to the layers that it was trained on, and `model.id` to its base.",
            )
        adapters.load_state(name, self.tensors)


def take_stage(recipe: Recipe, recipe_folder: Path | None, base: str) -> TakenStage | None:
    """Return the adapter that the first stage's `from` names; None without `from`.

    Args:
        recipe_folder: relative paths are taken from the working directory, then from here.
        base: folder of this run's base model.

    Raises:
        UsageError: no such folder or stage, one that is not finished, or one that does not fit this recipe.
    """
    stage = recipe.stages[0]
    if stage.source is None:
        return None
    key = f'stages: "{stage.name}".from'
    for folder in (Path(stage.source), *([recipe_folder / stage.source] if recipe_folder else [])):
        if is_peft_folder(folder):
            tensors, base_name = read_peft_folder(folder, stage.adapter, key)
            return TakenStage(str(folder), tensors, base_name)
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
    raise UsageError(
        f"{key}: there is no run folder {source}.",
        "Give the folder of a run, FOLDER:STAGE, or a PEFT adapter's folder.",
    )


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
