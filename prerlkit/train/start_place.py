"""The place that a stage's `from` names: an adapter's folder, a run, or the Hub, with what is recorded of its base."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy import hub, source
from prerlkit.policy.identity import base_fingerprint, check_base, difference, read_base
from prerlkit.policy.save import WEIGHTS
from prerlkit.policy.source import ResolvedModel
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.runs.files import resume_command
from prerlkit.runs.run import Run
from prerlkit.suggest import nearest
from prerlkit.train.peft_start import CONFIG, PeftAdapter, is_peft_folder

Report = Callable[[str], None] | None

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Place:
    """An adapter's folder.

    Attributes:
        folder: with the adapter in PEFT's layout.
        label: its name in messages.
        key: the recipe's key that names it.
        fingerprint: of its base (`policy.identity`), where it is recorded.
        run: the run that it is of.
        recorded: the run's stage that it is; None for a PEFT folder, and for the policy of a whole run.
    """

    folder: Path
    label: str
    key: str
    fingerprint: Mapping[str, Any] | None = None
    run: Run | None = None
    recorded: Stage | None = None

    @property
    def finish(self) -> str:
        """What to do about a run that is not finished."""
        return f"Finish it: {resume_command(self.run.folder)}." if self.run else ""

    def check_fits(self, recipe: Recipe) -> None:
        """Raise UsageError unless a stage of another run can be the first stage of `recipe`."""
        assert self.run is not None
        assert self.recorded is not None
        whole = load(str(self.run.files.recipe)).recipe
        index = [stage.name for stage in whole.stages].index(self.recorded.name)
        while index and whole.stages[index].reincarnation == "continue":
            index -= 1
        if index:
            raise UsageError(
                f"{self.key}: the adapter of {self.label} was trained on top of the adapter of "
                f'"{whole.stages[index - 1].name}", so it is only a part of the policy.',
                "Take a stage that a run began with, or one that continues it.",
            )
        stage = recipe.stages[0].adapter
        own, other = stage.model_dump(), self.recorded.adapter.model_dump()
        keys = stage.model_fields_set if recipe.on_ground else own
        if different := [f"{k} {other[k]!r} there, {own[k]!r} here" for k in own if k in keys and own[k] != other[k]]:
            raise UsageError(
                f"{self.key}: the adapter of {self.label} has other settings: {'; '.join(different)}.",
                "Set the stage's `adapter` as it is there.",
            )
        self.check_quantization(recipe)

    def check_quantization(self, recipe: Recipe) -> None:
        """Raise UsageError where the run's base was quantized otherwise than this recipe's."""
        assert self.run is not None
        theirs, own = load(str(self.run.files.recipe)).recipe.model.quantization, recipe.model.quantization
        if theirs != own:
            raise UsageError(
                f"{self.key}: {self.label} was trained on a base with model.quantization {theirs}, this recipe has "
                f"{own}.",
                "Use the same quantization.",
            )


def locate(recipe: Recipe, recipe_folder: Path | None, *, fetch: bool, report: Report = None) -> Place | None:
    """Return where the first stage's `from` leads; None for a Hub id that is not on this machine and is not fetched.

    Args:
        recipe_folder: relative paths are taken from the working directory, then from here.

    Raises:
        UsageError: there is no such folder or stage.
        PrerlkitError: the Hub can't be reached, or doesn't have it.
    """
    stage = recipe.stages[0]
    assert stage.source is not None
    key = f'stages: "{stage.name}".from'
    for folder in _paths(stage.source, recipe_folder):
        if is_peft_folder(folder):
            return Place(folder, str(folder), key, (read_base(folder) or {}).get("fingerprint"))
    if run := _run(stage.source, None if recipe.on_ground else stage.name, recipe_folder, key):
        if run.recorded is None:
            run.check_quantization(recipe)
        return run
    if match := _HUB_ID.fullmatch(stage.source):
        return _of_hub(match[1], match[2], key, fetch, report)
    raise UsageError(
        f"{key}: there is no run folder {stage.source}.",
        "Give the folder of a run, FOLDER:STAGE, a PEFT adapter's folder, or its Hub id.",
    )


def check_named_base(adapter: PeftAdapter, model: Model, base: ResolvedModel) -> str:
    """Compare the base that a PEFT folder names with this run's, as far as that can be done without a network.

    Returns:
        A line for a person.

    Raises:
        PrerlkitError: the weights of the model of that name are others.
    """
    if not adapter.base:
        return "it names no base, and PEFT keeps no fingerprint: only its layers' names and shapes are checked"
    named = f"its base is called {adapter.base} there"
    try:
        there = source.cached_model(Model(id=adapter.base, revision=adapter.revision))
    except UsageError:
        there = None
    if there is None:
        why = "as here" if adapter.base == model.id else "which is not on this machine"
        return f"{named}, {why}; not checked, as PEFT keeps no fingerprint"
    if there.resolve() != Path(base.path).resolve():
        recorded = base_fingerprint(there)
        if difference(recorded, base_fingerprint(base.path)) == "weights":
            check_base(recorded, base.path, adapter=f"{adapter.folder} (base {adapter.base})", base=model.id)
    return f"{named}, and has this base's weights"


def _paths(text: str, recipe_folder: Path | None) -> Iterator[Path]:
    yield Path(text).expanduser()
    if recipe_folder:
        yield recipe_folder / text


def _run(text: str, own: str | None, recipe_folder: Path | None, key: str) -> Place | None:
    """Return the stage of a run, or its whole policy where neither `text` nor `own` names a stage."""
    whole, _, last = text.rpartition(":")
    for name, stage in ((text, own), (whole, last)):
        for folder in _paths(name, recipe_folder) if name else ():
            if folder.is_dir():
                return _of_run(Run.open(folder), stage, key)
    return None


def _of_run(run: Run, name: str | None, key: str) -> Place:
    fingerprint = run.environment.get("model", {}).get("fingerprint")
    if name is None:
        if not (run.files.adapter / WEIGHTS).is_file():
            raise UsageError(f"{key}: {run.folder} is not finished.", f"Finish it: {resume_command(run.folder)}.")
        return Place(run.files.adapter, str(run.folder), key, fingerprint, run)
    names = [str(stage["name"]) for stage in run.recipe.get("stages") or ()]
    if name not in names:
        raise UsageError(
            f'{key}: {run.folder} has no stage "{name}"{nearest(name, names)}',
            f"Name one of its stages: {run.folder}:{names[0]}." if names else "Name another run.",
        )
    recorded = load(str(run.files.recipe)).recipe.stages[names.index(name)]
    return Place(run.files.adapters / name, f"{run.folder}:{name}", key, fingerprint, run, recorded)


def _of_hub(repo: str, revision: str | None, key: str, fetch: bool, report: Report) -> Place | None:
    label = f"{repo}@{revision}" if revision else repo
    folder = hub.cached(repo, revision, CONFIG)
    if folder is None or not (folder / WEIGHTS).is_file() or fetch:
        if not fetch:
            return None
        if report:
            report(f"Hub: {label}")
        files = [CONFIG, WEIGHTS, "base.json"]
        try:
            folder = hub.snapshot(hub.Wanted(repo, revision, files, (), "adapter", key, key))
        except PrerlkitError as error:
            error.hint = f"{error.hint} There is no folder {label} here either.".strip()
            raise
        if not is_peft_folder(folder):
            raise UsageError(f"{key}: {label} on the Hub holds no {CONFIG}: it is no LoRA adapter.", "Name another.")
    fingerprint = (read_base(folder) or {}).get("fingerprint")
    return Place(folder, f"{repo}@{folder.name}", key, fingerprint)
