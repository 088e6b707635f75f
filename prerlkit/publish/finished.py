"""A run opened to be published: with the weights of its adapters, which tell one policy from another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prerlkit.errors import PrerlkitError
from prerlkit.policy.adapters import weights_digest
from prerlkit.policy.identity import resolve_for
from prerlkit.recipe.model import Adapter
from prerlkit.train import opened
from prerlkit.train.opened import OpenedRun


@dataclass(frozen=True, slots=True)
class Part:
    """One adapter of the policy.

    Attributes:
        name: of the (last) stage that trained it.
        tensors: its factors, under PEFT's file names.
    """

    name: str
    settings: Adapter
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class FinishedRun(OpenedRun):
    """A run with its weights.

    Attributes:
        parts: adapters, bottom first; their sum is the policy.
    """

    parts: tuple[Part, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the adapters' weights: tells which policy a file was made from."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(f"{part.name} {weights_digest(part.tensors)}\n".encode())
        return digest.hexdigest()

    @property
    def dora(self) -> bool:
        return any(part.settings.dora for part in self.parts)


def open_run(folder: Path, *, checkpoint: bool = False) -> FinishedRun:
    """Read the run in `folder`; see `train.opened.open_run`.

    Raises:
        PrerlkitError: an adapter is missing or damaged.
    """
    run = opened.open_run(folder, checkpoint=checkpoint)
    parts = tuple(Part(stage.name, stage.adapter, _tensors(file)) for stage, file in run.adapters)
    return FinishedRun(**{field.name: getattr(run, field.name) for field in fields(run)}, parts=parts)


def resolve_base(run: FinishedRun, base: str | None, report: Callable[[str], None] | None = None) -> Path:
    """The folder of the run's 16-bit base, fetched when it is not on this machine.

    Args:
        base: another place of the same model (a folder or a Hub id), for when the run's own is gone.

    Raises:
        PrerlkitError: it is nowhere, or it isn't the base that the run was trained on.
    """
    model = run.recipe.model.model_copy(update={"id": base, "revision": None, "sha256": None}) if base else run.model
    resolved, note = resolve_for(str(run.folder), model, run.base, report)
    if note and report:
        report(note)
    return Path(resolved.path)


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise PrerlkitError(
            f"The adapter {file} can't be read: {error}", "Restore the run folder from a copy, or run again."
        ) from error
    return tensors
