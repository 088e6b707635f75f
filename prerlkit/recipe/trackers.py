"""Recipe settings of trackers, which receive a run's steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from prerlkit.settings import Bool, Settings, word_to_kind


class TensorBoardSettings(Settings):
    """TensorBoard: event files in the run folder."""

    kind: Literal["tensorboard"] = "tensorboard"


class WandbSettings(Settings):
    """Weights & Biases."""

    kind: Literal["wandb"] = "wandb"
    project: str = "prerlkit"
    """What the tracker files the run under."""
    online: Bool = False
    """false: files in the run folder, for `wandb sync` later. true: sent as the run goes; needs `wandb login`."""


class TrackioSettings(Settings):
    """trackio."""

    kind: Literal["trackio"] = "trackio"
    project: str = "prerlkit"
    """What the tracker files the run under."""
    space: str | None = None
    """null: a database on this machine. `user/name`: a Space on the Hub."""


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
