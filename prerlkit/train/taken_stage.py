"""A first stage that is taken from another run, a PEFT folder or the Hub (`from`) and checked, not trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prerlkit.errors import UsageError
from prerlkit.policy import source
from prerlkit.policy.adapters import AdapterStack, weights_digest
from prerlkit.policy.base import UNUSABLE, first_line
from prerlkit.policy.identity import check_base
from prerlkit.policy.layout import empty_model
from prerlkit.policy.lora import factor_shapes
from prerlkit.policy.save import WEIGHTS
from prerlkit.policy.source import ResolvedModel
from prerlkit.recipe.inherit import OF_AN_ADAPTER
from prerlkit.recipe.load import load
from prerlkit.recipe.plugins import model_near
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import read_json
from prerlkit.settings import mistake
from prerlkit.train.peft_start import PeftAdapter, digest
from prerlkit.train.start_place import Place, Report, check_named_base, locate


@dataclass(frozen=True, slots=True)
class TakenStage:
    """The adapter of another run's finished stage, or of a PEFT folder.

    Attributes:
        place: where it is taken from, for messages.
        tensors: its factors, under PEFT's file names.
        base: a line on whether its base is this run's; "" for a run's, which is checked.
        sha256: of its files.
    """

    place: str
    tensors: dict[str, Tensor]
    base: str
    sha256: str

    @property
    def note(self) -> str:
        """A line for the log."""
        text = f"taken from {self.place}, SHA-256 of its weights {weights_digest(self.tensors)[:12]}"
        return f"{text}; {self.base}" if self.base else text

    @property
    def origin(self) -> dict[str, str]:
        """Its description in the run's checkpoints and environment.json."""
        return {"place": self.place, "sha256": self.sha256}

    def check(self, adapters: AdapterStack, recipe: Recipe) -> None:
        """Raise UsageError where its factors are on other layers than the first stage's adapter, or of other shapes.

        Args:
            adapters: none yet, on this run's base, which needs no weights.
        """
        stage = recipe.stages[0]
        own = factor_shapes(adapters.base, adapters.adapted(stage.adapter), stage.adapter.rank)
        given = {k: tuple(t.shape) for k, t in self.tensors.items() if k.endswith((".lora_A.weight", ".lora_B.weight"))}
        if different := sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k)):
            key = different[0]
            there, here = (shapes.get(key, "absent") for shapes in (given, own))
            raise UsageError(
                f'stages: "{stage.name}".from: {len(different)} tensors of {self.place} differ from those of the '
                f"stage's adapter, such as {key}: {there} there, {here} here.",
                "Set `model.id` to the base that it was trained on, and `adapter.targets`, where it is set, to its "
                "layers.",
            )

    def load(self, adapters: AdapterStack, name: str) -> None:
        """Set the adapter of stage `name` to these factors."""
        adapters.load_state(name, self.tensors)


def settle(
    recipe: Recipe, recipe_folder: Path | None, run: RunFiles | None = None, *, fetch: bool, report: Report = None
) -> Recipe:
    """Return the recipe with the settings of the adapter that it begins with, read from the adapter's files.

    Other recipes are returned as they are, and a recipe whose adapter is on the Hub and not on this machine where it
    may not be fetched.

    Args:
        recipe_folder: relative paths are taken from the working directory, then from here.
        run: of the run that may be resumed. It keeps the settings where the adapter is gone.
        fetch: whether the network may be used.

    Raises:
        UsageError: there is no such adapter, or no stage of this recipe can hold it.
        PrerlkitError: the Hub can't be reached, or doesn't have it.
    """
    if recipe.stages[0].source is None:
        return recipe
    started = load(str(run.recipe)).recipe if run and run.recipe.is_file() else None
    try:
        place = locate(recipe, recipe_folder, fetch=fetch, report=report)
    except UsageError:
        if started is None:
            raise
        place = None
    settings = _settings(recipe, place) if place else None
    if settings is None and started is not None:
        settings = started.stages[0].adapter.model_dump(mode="json", include=set(OF_AN_ADAPTER))
    if not recipe.on_ground or settings is None:
        return recipe
    try:
        return recipe.with_ground(settings)
    except ValidationError as error:
        message = mistake(error.errors()[0])
        raise UsageError(f'stages: "{recipe.stages[0].name}".from: with rank {settings["rank"]}: {message}') from None


def _settings(recipe: Recipe, place: Place) -> Mapping[str, Any]:
    """Return the settings of the adapter there, which must fit the recipe."""
    stage, following = recipe.stages[0], recipe.stages[1:2]
    if place.recorded is not None:
        place.check_fits(recipe)
        return place.recorded.adapter.model_dump(mode="json", include=set(OF_AN_ADAPTER))
    adapter = PeftAdapter.read(place.folder, place.key)
    if not recipe.on_ground:
        adapter.check_uniform("a stage with an objective has one rank and one scale")
        adapter.check_settings(stage.adapter)
    else:
        adapter.check_settings(stage.adapter, stage.adapter.model_fields_set & {"rank", "alpha", "rslora"})
        if any(later.reincarnation == "continue" for later in following):
            adapter.check_uniform("a stage that trains it on has one rank and one scale")
    adapter.check_shapes()
    return adapter.settings


def take_stage(recipe: Recipe, recipe_folder: Path | None, base: ResolvedModel) -> TakenStage | None:
    """Return the adapter that the first stage's `from` names; None without `from`. The base's weights aren't loaded.

    Args:
        recipe: settled.
        base: this run's.

    Raises:
        UsageError: no such folder or stage, one that is not finished, or one that does not fit this recipe.
    """
    if recipe.stages[0].source is None:
        return None
    place = locate(recipe, recipe_folder, fetch=True)
    assert place is not None  # what can't be fetched raises
    taken = _of_place(place, recipe, base)
    taken.check(AdapterStack(empty_model(base.path, trust_remote_code=recipe.model.trust_remote_code)), recipe)
    return taken


def check_on_base(recipe: Recipe, recipe_folder: Path | None) -> str:
    """Make the checks of `take_stage` without a network and without code of the model.

    Args:
        recipe: settled.

    Returns:
        A line on what was not checked, or on what the adapter says of its base; "" without an adapter on this machine.

    Raises:
        PrerlkitError: the adapter was trained on another base, or does not fit this one.
    """
    place = locate(recipe, recipe_folder, fetch=False) if recipe.stages[0].source else None
    if place is None:
        return ""
    model = model_near(recipe.model, recipe_folder)
    try:
        folder = source.cached_model(model)
    except UsageError:
        folder = None  # a run refuses it
    if folder is None:
        return f"not checked: whether {model.id}, which is not on this machine, is the base of {place.label}"
    taken = _of_place(place, recipe, ResolvedModel(str(folder), None, ""))
    if model.trust_remote_code:
        return f"not checked, as it could run the model's own code: whether {place.label} fits the layers of {model.id}"
    try:
        bare = empty_model(str(folder))
    except UNUSABLE as error:
        return f"not checked: {model.id} can't be built, so its layers are not known: {first_line(error)}"
    taken.check(AdapterStack(bare), recipe)
    return f"{place.label}: {taken.base}" if taken.base else ""


def _of_place(place: Place, recipe: Recipe, base: ResolvedModel) -> TakenStage:
    """Return the adapter there. Raises PrerlkitError where it was trained on another base."""
    if place.fingerprint:
        check_base(place.fingerprint, base.path, adapter=place.label, base=recipe.model.id)
    return _of_stage(place) if place.recorded else _of_peft(place, recipe, base)


def _of_peft(place: Place, recipe: Recipe, base: ResolvedModel) -> TakenStage:
    adapter = PeftAdapter.read(place.folder, place.key)
    note = "" if place.fingerprint else check_named_base(adapter, recipe.model, base)
    return TakenStage(place.label, adapter.load(recipe.stages[0].adapter), note, digest(place.folder))


def _of_stage(place: Place) -> TakenStage:
    file = place.folder / WEIGHTS
    if not file.is_file():
        raise UsageError(f"{place.key}: {place.label} is not finished: there is no {file}.", place.finish)
    try:
        return TakenStage(place.label, load_file(file), "", digest(place.folder))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{place.key}: {file} can't be read: {error}", "Restore the run folder from a copy."
        ) from error


def began_with(
    recipe: Recipe, recipe_folder: Path | None, taken: TakenStage | None, files: RunFiles
) -> Mapping[str, Any] | None:
    """Return place and SHA-256 of the adapter that a run begins or began with; None for a first stage that trains.

    Args:
        taken: None for a run that resumes. It says what the files are now, or what it recorded where they are gone.
    """
    if taken:
        return taken.origin
    text, recorded = recipe.stages[0].source, read_json(files.environment).get("taken")
    if text is None or (recorded and str(recorded.get("place")).startswith(f"{text}@")):
        return recorded  # a commit of the Hub doesn't change
    try:
        place = locate(recipe, recipe_folder, fetch=False)
        return {"place": place.label, "sha256": digest(place.folder)} if place else recorded
    except (UsageError, OSError):
        return recorded
