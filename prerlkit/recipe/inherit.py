"""Fills in what a recipe's stages inherit, in plain data before the check."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from prerlkit.recipe.demonstrations import UNSAMPLED

SECTIONS = ("adapter", "rollout", "optimizer")
"""The sections that each stage has, and inherits key by key."""
OF_AN_ADAPTER = ("rank", "alpha", "targets", "rslora")
"""Keys of `adapter` that an existing adapter decides."""


def inherited(data: Any) -> Any:
    """Return a recipe's data with its adapter, rollout and optimizer in each stage, under the stage's own keys.

    A stage that is taken (`from`) has no steps. Stages that have the adapter of a ground inherit only those of the
    adapter's keys that an adapter leaves open. A stage with demonstrations has the keys of sampling of `UNSAMPLED`.
    """
    if not isinstance(data, dict) or not isinstance(data.get("stages"), list | tuple):
        return data
    stages, grounded = [], on_ground(data["stages"])
    for number, stage in enumerate(data["stages"]):
        if isinstance(stage, dict):
            stage = {"objective": [], "learning_rate": 0.0, **stage, "steps": 0} if _taken(stage) else dict(stage)
            for section in SECTIONS:
                common, own = data.get(section), stage.get(section)
                if section == "rollout" and stage.get("demonstrations") is not None:
                    common = {**(common if isinstance(common, dict) else {}), **UNSAMPLED}
                if isinstance(common, dict) and (own is None or isinstance(own, dict)):
                    if section == "adapter" and number < grounded:
                        common = {key: common[key] for key in common if key not in OF_AN_ADAPTER}
                    stage[section] = {**common, **(own or {})}
        stages.append(stage)
    return {**data, "stages": stages}


def on_ground(stages: Sequence[Any]) -> int:
    """Return how many of the first stages have the adapter of a ground: a first stage with `from`, without objective.

    0 where there is none; more than 1 where stages continue it.
    """
    if not stages or not _taken(stages[0]) or stages[0].get("objective"):
        return 0
    above = itertools.takewhile(lambda x: isinstance(x, dict) and x.get("reincarnation") == "continue", stages[1:])
    return 1 + len(list(above))


def _taken(stage: Any) -> bool:
    return isinstance(stage, dict) and stage.get("from") is not None
