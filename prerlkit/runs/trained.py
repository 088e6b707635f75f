"""A run whose policy is used: its recipe, its base, and its adapters in the order that they add up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.adapters import weights_digest
from prerlkit.policy.identity import resolve_for
from prerlkit.policy.save import WEIGHTS
from prerlkit.recipe.load import load
from prerlkit.recipe.model import Adapter, Model
from prerlkit.recipe.plugins import model_near
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.runs import checksums
from prerlkit.runs.checkpoint import Checkpoint
from prerlkit.runs.checkpoints import newest_whole
from prerlkit.runs.files import RunFiles, resume_command
from prerlkit.runs.run import Run


@dataclass(frozen=True, slots=True)
class Part:
    """One adapter of the policy, with its weights.

    Attributes:
        name: of the (last) stage that trained it.
        tensors: its factors, under PEFT's file names.
    """

    name: str
    settings: Adapter
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, or an unfinished one at its last checkpoint.

    Attributes:
        run: all that it wrote.
        recipe: its recipe, checked.
        adapters: (stage, weights), bottom first; their sum is the policy. A stage that continued another's adapter
            represents both.
        step: how many steps the policy was trained.
        complete: False when it is a checkpoint of an unfinished run.
    """

    run: Run
    recipe: Recipe
    adapters: tuple[tuple[Stage, Path], ...]
    step: int
    complete: bool

    @classmethod
    def open(cls, folder: Path, *, checkpoint: bool = False, weights: bool = False) -> TrainedRun:
        """Open the run in `folder` and find the adapters that are its policy.

        Args:
            checkpoint: take an unfinished run as it was at its last checkpoint.
            weights: read the weights now, so that a damaged file is refused before anything else is done; otherwise
                they are read when they are first asked for.

        Raises:
            UsageError: there is no run, its recipe is of another version, or it is unfinished and `checkpoint` is
                false (the message names its last checkpoint).
            PrerlkitError: a JSON file, the checkpoints or, with `weights`, an adapter is damaged. A file is also
                damaged when its checksum is another.
        """
        run = Run.open(folder)
        recipe = load(str(run.files.recipe)).recipe
        total = sum(stage.steps for stage in recipe.stages)
        if run.state == "completed":
            checksums.check(run.files, [path for path in (run.files.recipe, run.files.environment) if path.is_file()])
            trained = cls(run, recipe, _adapters(run, recipe, None), total, True)
        else:
            found = newest_whole(run.files.checkpoints)
            if not checkpoint or found is None:
                raise _unfinished(run, total, found)
            trained = cls(run, recipe, _adapters(run, recipe, found), found.position.step, False)
        if weights:
            _ = trained.parts
        return trained

    @property
    def folder(self) -> Path:
        return self.run.folder

    @property
    def files(self) -> RunFiles:
        return self.run.files

    @property
    def environment(self) -> Mapping[str, Any]:
        return self.run.environment

    @property
    def steps(self) -> tuple[Mapping[str, Any], ...]:
        """Lines of metrics.jsonl up to `step`."""
        return tuple(line for line in self.run.steps if line["step"] <= self.step)

    @property
    def evaluations(self) -> tuple[Mapping[str, Any], ...]:
        """Lines of evaluations.jsonl up to `step`."""
        return tuple(line for line in self.run.evaluations if line["step"] <= self.step)

    @property
    def model(self) -> Model:
        """The base at the very commit that the run used."""
        commit = self.environment.get("model", {}).get("revision")
        model = model_near(self.recipe.model, self._recorded_folder)
        return model.model_copy(update={"revision": commit}) if commit else model

    @property
    def recipe_folder(self) -> Path:
        """The folder of the recipe; the run folder where none was recorded or it is gone.

        Relative data paths and verifiers are found from there, and `prerlkit.trust` keeps for it what the user allows.
        """
        recorded = self._recorded_folder
        return recorded if recorded is not None and recorded.is_dir() else self.folder

    @property
    def _recorded_folder(self) -> Path | None:
        recorded = self.environment.get("recipe_folder")
        return Path(recorded) if isinstance(recorded, str) and recorded else None

    @property
    def base_fingerprint(self) -> Mapping[str, Any] | None:
        """Of the base that it was trained on (`policy.identity`), where one was recorded."""
        recorded: Mapping[str, Any] | None = self.environment.get("model", {}).get("fingerprint")
        return recorded

    @property
    def note(self) -> str:
        """A sentence where the run's files can't be checked; "" where they can."""
        return checksums.note(self.files) if self.complete else ""

    @property
    def dora(self) -> bool:
        return any(stage.adapter.dora for stage, _ in self.adapters)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The adapters with their weights, bottom first; read when they are first asked for.

        Raises:
            PrerlkitError: one is missing or damaged, or holds numbers that are not finite.
        """
        parts = tuple(Part(stage.name, stage.adapter, _tensors(file)) for stage, file in self.adapters)
        checksums.check(self.files, [file for _, file in self.adapters])  # of a checkpoint's they are its own
        return parts

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the adapters' weights: identifies the policy that a file was made from."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(f"{part.name} {weights_digest(part.tensors)}\n".encode())
        return digest.hexdigest()

    def resolve_base(self, base: str | None, report: Callable[[str], None] | None = None) -> Path:
        """Return the folder of the run's 16-bit base, fetched when it is not on this machine.

        Args:
            base: another place of the same model (a folder or a Hub id), for when the run's own is gone.

        Raises:
            PrerlkitError: it is nowhere, or it isn't the base that the run was trained on.
        """
        elsewhere = {"id": base, "revision": None, "sha256": None}
        model = self.recipe.model.model_copy(update=elsewhere) if base else self.model
        resolved, note = resolve_for(str(self.folder), model, self.base_fingerprint, report)
        for text in filter(None, (note, self.note)):
            if report:
                report(text)
        return Path(resolved.path)


def _unfinished(run: Run, total: int, found: Checkpoint | None) -> UsageError:
    reasons = {"running": "it still runs", "broken off": "it was killed, or its plan has more steps than it did"}
    reason = reasons.get(run.state) or run.summary["exit_reason"]
    finish = f"`{resume_command(run.folder)}`"
    if found is None:
        return UsageError(f"{run.folder} did not finish ({reason}) and has no checkpoint.", f"To finish it: {finish}.")
    step = found.position.step
    return UsageError(
        f"{run.folder} did not finish ({reason}); its last checkpoint is of step {step} of {total}.",
        f"Add --checkpoint to use it as it was then, or finish it with {finish}.",
    )


def _adapters(run: Run, recipe: Recipe, found: Checkpoint | None) -> tuple[tuple[Stage, Path], ...]:
    """The adapters of all stages, or of those up to a checkpoint's."""
    last = found.position.stage if found else len(recipe.stages)
    adapters: list[tuple[Stage, Path]] = []
    for index, stage in enumerate(recipe.stages[: last + 1]):
        file = found.adapter(stage.name) if found and index == last else run.files.adapters / stage.name / WEIGHTS
        if index and stage.reincarnation == "continue":
            adapters.pop()
        adapters.append((stage, file))
    return tuple(adapters)


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise PrerlkitError(
            f"The adapter {file} can't be read: {error}", "Restore the run folder from a copy, or run again."
        ) from error
    if wrong := next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), None):
        raise PrerlkitError(
            f"The adapter {file} holds NaN or infinite numbers, in {wrong}.",
            "The training diverged, or the file is damaged: use an earlier checkpoint of the run.",
        )
    return tensors
