"""Traces of recipes that have much in common: each half of a run is traced once for all that it depends on."""

from __future__ import annotations

from typing import Any

from prerlkit.plan.trace import Parts, Sizes, Traced, trace
from prerlkit.recipe.schema import Memory, Recipe, Rollout

_NOT_TRAINING = ("engine", "vllm", "max_sequences")
"""Of a rollout: how its completions are drawn. The steps that train on them take as much whoever drew them."""


class Traces:
    """Remembers what it traced.

    Args:
        config: the model's config.json.
        device_type: as torch names it.
    """

    def __init__(self, config: str, device_type: str) -> None:
        self._config = config
        self._device_type = device_type
        self._known: dict[tuple[str, Parts], tuple[Sizes, list[Traced]]] = {}

    def training(self, recipe: Recipe) -> list[Traced]:
        """What the steps of each stage hold."""
        plain = {key: Rollout.model_fields[key].get_default(call_default_factory=True) for key in _NOT_TRAINING}
        return self._trace(_with(recipe, "rollout", plain), Parts(rollouts=False))[1]

    def sampling(self, recipe: Recipe, *, here: bool) -> tuple[Sizes, list[Traced]]:
        """What rollouts and evaluations hold beside what steps leave behind.

        Args:
            here: in this process; otherwise it is the canary at each hand-over to an engine of another.
        """
        fields = Memory.model_fields
        plain = {key: fields[key].get_default() for key in fields if here or key != "logits_chunk"}  # the canary's
        return self._trace(_with(recipe, "memory", plain), Parts(training=False, rollouts=here, canary=not here))

    def _trace(self, recipe: Recipe, parts: Parts) -> tuple[Sizes, list[Traced]]:
        key = recipe.model_dump_json(), parts
        if key not in self._known:
            self._known[key] = trace(recipe, self._config, self._device_type, parts)
        return self._known[key]


def _with(recipe: Recipe, section: str, values: dict[str, Any]) -> Recipe:
    """The recipe with some keys of a section changed, also where stages hold a copy of it; unchecked."""
    changed = {section: getattr(recipe, section).model_copy(update=values)}
    if section == "rollout":
        stages = tuple(s.model_copy(update={section: s.rollout.model_copy(update=values)}) for s in recipe.stages)
        changed["stages"] = stages
    return recipe.model_copy(update=changed)
