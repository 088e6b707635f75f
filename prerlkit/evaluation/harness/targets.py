"""Find what can be evaluated, before any weight is loaded: a run folder, an adapter folder, a Hub id, a base model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prerlkit.errors import UsageError
from prerlkit.evaluation.request import wrong
from prerlkit.policy import source
from prerlkit.policy.identity import read_base
from prerlkit.recipe.load import load, packaged
from prerlkit.recipe.model import Model
from prerlkit.runs import checksums
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import read_json
from prerlkit.runs.trained import TrainedRun

CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Target:
    """A policy to evaluate.

    Attributes:
        text: as the person named it.
        model: its base, or itself.
        adapter: a PEFT folder on it, where there is one.
        run: the run it is, or a checkpoint of it.
        base: what was recorded of the base that the adapter was trained on (`policy.identity`), where known.
    """

    text: str
    model: Model
    adapter: Path | None = None
    run: TrainedRun | None = None
    base: Mapping[str, Any] | None = None

    @property
    def slug(self) -> str:
        """The name of its folder among results."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.text).strip("-.") or "target"

    def on_base(self) -> Target:
        """Its base alone."""
        return Target(self.model.id, self.model)


def find(
    text: str,
    *,
    base: str | None = None,
    checkpoint: bool = False,
    changes: Mapping[str, Any] | None = None,
    known: Model | None = None,
) -> Target:
    """Return the target that `text` names.

    Args:
        base: another place of an adapter's base model.
        checkpoint: take an unfinished run at its last checkpoint.
        changes: keys of a recipe's model section to override (dtype, quantization, device, …).
        known: a recipe's model; a target of the same id gets its settings.

    Raises:
        UsageError: there is no such thing, a run isn't finished, or a setting is wrong.
    """
    folder = Path(os.path.expanduser(text))
    if RunFiles(folder).recipe.is_file():
        target = _run(text, folder, checkpoint)
    elif (folder / CONFIG).is_file():
        target = _adapter(text, folder.resolve(), known, base)
    elif not os.path.exists(folder) and (downloaded := _hub_adapter(text)):
        target = _adapter(text, downloaded, known, base)
    else:
        target = Target(text, _model(text, known))
        source.describe(target.model)  # says what is wrong with the name
    if base is not None and (target.adapter or target.run):
        target = replace(target, model=_model(base, known))
    try:
        model = Model.model_validate({**target.model.model_dump(), **(changes or {})})
    except ValidationError as error:
        raise wrong(error, "model") from error
    return replace(target, model=model)


def _run(text: str, folder: Path, checkpoint: bool) -> Target:
    run = TrainedRun.open(folder, checkpoint=checkpoint)
    return Target(text, run.model, run=run, base=run.base_fingerprint)


def _adapter(text: str, folder: Path, known: Model | None, base: str | None) -> Target:
    """Return an adapter of PEFT. In a run folder the run's recipe names its base, elsewhere its own files do."""
    config = read_json(folder / CONFIG)
    recorded = read_base(folder) or {}
    for run in (RunFiles(folder.parent), RunFiles(folder.parent.parent)):  # <run>/adapter, <run>/adapters/<stage>
        if run.recipe.is_file():
            environment = read_json(run.environment).get("model", {})
            if folder == run.adapter or folder.parent == run.adapters:  # <run>/export is of another command
                checksums.check(run, [folder])
            fingerprint = recorded.get("fingerprint") or environment.get("fingerprint")
            return Target(text, load(str(run.recipe)).recipe.model, adapter=folder, base=fingerprint)
    base_id = recorded.get("id") or config.get("base_model_name_or_path") or base
    if not base_id:
        raise UsageError(f"{text} doesn't say which base model it belongs to.", "Name it: --base FOLDER_OR_HUB_ID.")
    model = _model(base_id, known)
    if recorded.get("revision") and model.revision is None and recorded.get("id") == base_id:
        model = model.model_copy(update={"revision": recorded["revision"]})
    return Target(text, model, adapter=folder, base=recorded.get("fingerprint"))


def _hub_adapter(text: str) -> Path | None:
    """The snapshot of an adapter on the Hub (or in its cache); None where `text` is something else."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return None
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    try:
        hf_hub_download(text, CONFIG)
        return Path(snapshot_download(text, allow_patterns=["*.json", "adapter_model.*"]))
    except (errors.HTTPError, errors.EntryNotFoundError, errors.OfflineModeIsEnabled, OSError, ValueError):
        return None  # no adapter, or nothing to be had: taken for a model, the Hub's answer is put in words


def _model(text: str, known: Model | None) -> Model:
    """A base model's settings: those of the recipe at hand, or of a packaged one, that names the same one."""
    if known and known.id == text:
        return known
    if text.startswith("pypi:"):  # its hash is in the recipe that uses it
        recipes = (load(str(path)).recipe for path in packaged().values())
        same = next((recipe.model for recipe in recipes if recipe.model.id == text), None)
        if same:
            return same
        raise UsageError(
            f"{text} needs the SHA-256 of its wheel, and no packaged recipe names it.",
            "Write it into a recipe (model.id and model.sha256) and give that: --recipe FILE.",
        )
    return Model(id=text)
