"""Recipe settings of trackers, which receive a run's steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from prerlkit.settings import Bool, Settings, word_to_kind


class TensorBoardSettings(Settings):
    """TensorBoard: event files in the run folder."""

    kind: Literal["tensorboard"] = "tensorboard"

    def where(self, folder: Path) -> str:
        """Return what to type to look at the run in `folder`, or where it is."""
        return f"tensorboard --logdir {shlex.quote(str(folder / 'tensorboard'))}"


class WandbSettings(Settings):
    """Weights & Biases."""

    kind: Literal["wandb"] = "wandb"
    project: str = "prerlkit"
    """What the tracker files the run under."""
    online: Bool = False
    """false: files in the run folder, for `wandb sync` later. true: sent as the run goes; needs `wandb login`."""

    def where(self, folder: Path) -> str:
        """Return what to type to look at the run in `folder`, or where it is."""
        if self.online:
            return f"project {self.project}, online"
        return f"wandb sync {shlex.quote(str(folder / 'wandb'))}/offline-run-*"


class TrackioSettings(Settings):
    """trackio."""

    kind: Literal["trackio"] = "trackio"
    project: str = "prerlkit"
    """What the tracker files the run under."""
    space: str | None = None
    """null: a database on this machine. `user/name`: a Space on the Hub."""

    def where(self, folder: Path) -> str:
        """Return what to type to look at the run in `folder`, or where it is."""
        return f"Space {self.space}" if self.space else f"trackio show --project {shlex.quote(self.project)}"


def _once(
    uses: tuple[TensorBoardSettings | WandbSettings | TrackioSettings, ...],
) -> tuple[TensorBoardSettings | WandbSettings | TrackioSettings, ...]:
    kinds = [use.kind for use in uses]
    if twice := [kind for i, kind in enumerate(kinds) if kind in kinds[:i]]:
        raise ValueError(f"{twice[0]} is there twice")
    return uses


TrackerUse = Annotated[
    TensorBoardSettings | WandbSettings | TrackioSettings,
    Field(discriminator="kind"),
    BeforeValidator(word_to_kind),
]
Trackers = Annotated[tuple[TrackerUse, ...], AfterValidator(_once)]
