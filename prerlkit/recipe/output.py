"""The recipe's sections on what a run leaves behind and how it is watched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from prerlkit.recipe.trackers import Trackers
from prerlkit.settings import NonNegativeInt, PositiveInt, Settings


class Output(Settings):
    """What a run leaves behind."""

    folder: str = "runs/{name}"
    """`{name}` and `{seed}` are filled in. --output on the command line wins. transformers: `output_dir`; verl:
    `default_local_dir`."""
    samples_per_step: NonNegativeInt = 2
    """Groups written to samples.jsonl each step."""
    checkpoint_every: NonNegativeInt = 5
    """Steps between checkpoints to resume from; each stage's end, a stop and the step before an evaluation always make
    one. 0: only those. 5 is ours: a killed run repeats no more than that. transformers: `save_steps`; verl:
    `save_freq`."""
    keep_checkpoints: Annotated[int, Strict(), Field(ge=2)] = 2
    """How many of the newest are kept, in addition to the one whose evaluation was best. At least 2: the one before
    saves a run when the last is damaged. transformers: `save_total_limit`; verl: `max_actor_ckpt_to_keep`."""
    trackers: Trackers = ()
    """Trackers that receive each step: tensorboard, wandb, trackio. All keep the data on this machine by default.
    transformers: `report_to`."""


HealthName = Literal[
    "no_signal",
    "entropy_collapse",
    "entropy_blowup",
    "all_truncated",
    "truncation_rise",
    "flat_reward",
    "length_runaway",
    "drift",
    "unjudged",
    "nonfinite",
]


class Health(Settings):
    """The watch on what kills RL runs in silence; docs/reliability.md has its rules."""

    window: PositiveInt = 20
    """Steps over which a condition must hold."""
    nonfinite_limit: PositiveInt = 5
    """So many steps in a row whose gradient was not finite are a condition."""
    stop_on: tuple[HealthName, ...] = ("nonfinite",)
    """Conditions that stop the run, its state saved. All others warn."""
