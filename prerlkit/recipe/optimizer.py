"""Recipe settings of the optimizer and of its learning rate over a stage."""

from __future__ import annotations

from typing import Literal

from prerlkit.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Settings


class Optimizer(Settings):
    """What an update is, apart from its learning rate, which belongs to the stage."""

    name: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """The 8-bit ones are bitsandbytes'. transformers: `optim`."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the two moments."""
    epsilon: PositiveFloat = 1e-8
    """transformers: `adam_epsilon`."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay, on the adapter."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient's norm is clipped here. 1.0: the paper. verl: `grad_clip`, `clip_grad`."""
    updates_per_rollout: PositiveInt = 1
    """Optimizer steps from one rollout batch, each on its share of the prompts. 1 (the paper) is on-policy: the ratio
    is exactly 1 and no clip bound acts. TRL's `num_iterations` and verl's `ppo_epochs` pass over all prompts in each
    update; nearer are TRL's `steps_per_generation` and verl's `ppo_mini_batch_size` (prompts in one update)."""


class Schedule(Settings):
    """The learning rate over a stage's steps."""

    kind: Literal["constant", "linear", "cosine"] = "constant"
    """constant, or decay to `final` of the rate by a line or half a cosine."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the rate rises from 0. verl: `lr_warmup_steps`."""
    final: Fraction = 0.0
    """Where the decay ends, as a share of the learning rate. verl: `min_lr_ratio`."""
