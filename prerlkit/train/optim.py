"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from prerlkit.recipe.optimizer import Optimizer, Schedule


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: Optimizer, learning_rate: float
) -> torch.optim.Optimizer:
    """Return AdamW, or bitsandbytes' 8-bit or paged 8-bit AdamW. The rate is set before each step."""
    arguments: dict[str, Any] = {
        "lr": learning_rate,
        "betas": settings.betas,
        "eps": settings.epsilon,
        "weight_decay": settings.weight_decay,
    }
    if settings.name == "adamw":
        return torch.optim.AdamW(parameters, **arguments)
    import bitsandbytes.optim as bnb

    made: torch.optim.Optimizer = {"adamw_8bit": bnb.AdamW8bit, "paged_adamw_8bit": bnb.PagedAdamW8bit}[settings.name](
        parameters, **arguments
    )
    return made


def rate_at(step: int, steps: int, learning_rate: float, schedule: Schedule) -> float:
    """Return the learning rate of `step` (from 0) of a stage of `steps`.

    It rises on a line over the warm-up, then decays to `final`.
    """
    if step < schedule.warmup_steps:
        return learning_rate * (step + 1) / (schedule.warmup_steps + 1)
    span = max(1, steps - 1 - schedule.warmup_steps)
    progress = min(1.0, (step - schedule.warmup_steps) / span)
    match schedule.kind:
        case "constant":
            share = 1.0
        case "linear":
            share = 1.0 - (1.0 - schedule.final) * progress
        case "cosine":
            share = schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * progress))
    return learning_rate * share
