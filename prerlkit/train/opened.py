"""A run folder opened to be used: its recipe, its base, and its adapters' files in the order that they add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.policy.save import WEIGHTS
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.train.checkpoint import Checkpoint
from prerlkit.train.folder import RunFolder
from prerlkit.train.jsonl import read_json


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """What a run left behind.

    Attributes:
        adapters: (stage, weights), bottom first; their sum is the policy. A stage that continued another's adapter
            stands for both.
        steps: done by then.
        environment, summary: contents of the files of those names; empty where there is none.
        complete: False when it is a checkpoint of an unfinished run.
    """

    folder: Path
    recipe: Recipe
    adapters: tuple[tuple[Stage, Path], ...]
    steps: int
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    complete: bool

    @property
    def model(self) -> Model:
        """The base at the very commit that the run used."""
        commit = self.environment.get("model", {}).get("revision")
        return self.recipe.model.model_copy(update={"revision": commit}) if commit else self.recipe.model

    @property
    def base(self) -> Mapping[str, Any] | None:
        """The fingerprint of the base that it was trained on (`policy.identity`), where one was recorded."""
        recorded: Mapping[str, Any] | None = self.environment.get("model", {}).get("fingerprint")
        return recorded


def open_run(folder: Path, *, checkpoint: bool = False) -> OpenedRun:
    """Open the run in `folder`. Reads no weights.

    Args:
        checkpoint: take an unfinished run as it was at its last checkpoint.

    Raises:
        UsageError: no run there, or an unfinished one and `checkpoint` is false; it says which checkpoint there is.
        PrerlkitError: one of its JSON files is damaged.
    """
    files = RunFolder(folder)
    if not files.recipe.is_file():
        raise UsageError(
            f"{folder} is not a run folder: it has no recipe.yaml.",
            "Give the folder that `prerlkit run` wrote, for example runs/quickstart_dsrl.",
        )
    recipe = load(str(files.recipe)).recipe
    summary, environment = read_json(files.summary), read_json(files.environment)
    total = sum(stage.steps for stage in recipe.stages)
    if summary.get("exit_reason") == "completed":
        return OpenedRun(folder, recipe, _adapters(files, recipe, None), total, environment, summary, True)
    found = files.newest_checkpoint()
    if not checkpoint or found is None:
        raise _unfinished(files, summary, total, found)
    adapters = _adapters(files, recipe, found)
    return OpenedRun(folder, recipe, adapters, found.position.step, environment, summary, False)


def _unfinished(files: RunFolder, summary: Mapping[str, Any], total: int, found: Checkpoint | None) -> UsageError:
    reason = summary.get("exit_reason", "no summary.json: it still runs, or was killed")
    go_on = f"go on with `prerlkit run {files.recipe} --resume -o {files.path}`"
    if found is None:
        return UsageError(f"{files.path} did not finish ({reason}) and has no checkpoint.", f"To finish it, {go_on}.")
    step = found.position.step
    return UsageError(
        f"{files.path} did not finish ({reason}); its last checkpoint is of step {step} of {total}.",
        f"Add --checkpoint to use it as it was then, or {go_on}.",
    )


def _adapters(files: RunFolder, recipe: Recipe, found: Checkpoint | None) -> tuple[tuple[Stage, Path], ...]:
    """The adapters of all stages, or of those up to a checkpoint's."""
    last = found.position.stage if found else len(recipe.stages)
    adapters: list[tuple[Stage, Path]] = []
    for index, stage in enumerate(recipe.stages[: last + 1]):
        file = found.adapter(stage.name) if found and index == last else files.adapters / stage.name / WEIGHTS
        if index and stage.reincarnation == "continue":
            adapters.pop()
        adapters.append((stage, file))
    return tuple(adapters)
