"""What a stage inherits from the recipe's own sections, before anything is checked."""

from __future__ import annotations

from typing import Any

from prerlkit.recipe.demonstrations import UNSAMPLED

SECTIONS = ("adapter", "rollout", "optimizer")
"""The sections that each stage has, and inherits key by key."""


def inherit(recipe: Any) -> Any:
    """Return plain data of a recipe with its `SECTIONS` written into each stage, under the stage's own keys.

    A stage without training (`from`) has 0 steps. One with demonstrations has the keys of sampling as `UNSAMPLED` says,
    whatever the recipe's own rollout is.
    """
    if not isinstance(recipe, dict) or not isinstance(recipe.get("stages"), list | tuple):
        return recipe
    return {**recipe, "stages": [_stage(recipe, stage) for stage in recipe["stages"]]}


def _stage(recipe: dict[str, Any], stage: Any) -> Any:
    if not isinstance(stage, dict):
        return stage
    made = dict(stage)
    if made.get("from") is not None:
        made["steps"] = 0
    for section in SECTIONS:
        common, own = recipe.get(section), made.get(section)
        if section == "rollout" and made.get("demonstrations") is not None:
            common = {**(common if isinstance(common, dict) else {}), **UNSAMPLED}
        if isinstance(common, dict) and (own is None or isinstance(own, dict)):
            made[section] = {**common, **(own or {})}
    return made
