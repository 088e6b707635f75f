"""Traces of recipes that have much in common: each half of a run is traced once for all that it depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prerlkit.plan.formula import by_formula
from prerlkit.plan.phases import BACKWARD, LOGPROBS, STEP
from prerlkit.plan.trace import Parts, Sizes, Traced, trace
from prerlkit.plan.trace_cache import TraceCache
from prerlkit.plan.tracker import EVALUATION, ROLLOUT
from prerlkit.recipe.optimizer import Schedule
from prerlkit.recipe.output import Health, Output
from prerlkit.recipe.schema import Memory, Recipe

_DRAWING = ("engine", "engine_settings", "vllm", "max_sequences")
"""Of a rollout: how its completions are drawn. The steps that train on them take as much whoever drew them."""


TRAINED = {LOGPROBS, BACKWARD, STEP}
UNTRACEABLE = (
    *(RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError),
    *(AssertionError, NotImplementedError),
)
"""What models' own code raises on shapes without values. The plan is an aid: by its own failure it stops no run."""


class Traces:
    """Remembers what it traced.

    Args:
        config: the model's config.json.
        device_type: as torch names it.
        cache: where traces outlive this process; None: nowhere.
        formula: plan by formula even if the model could be traced.
    """

    def __init__(
        self, config: str, device_type: str, *, cache: TraceCache | None = None, formula: bool = False
    ) -> None:
        self.config = config
        self._device_type = device_type
        self._cache = cache
        self._formula = formula
        self._known: dict[tuple[str, Parts], tuple[Sizes, list[Traced]]] = {}
        self.untraced = ""
        """Why the model can't be traced and its plan is by formula; "" where it is traced."""

    def training(self, recipe: Recipe) -> list[Traced]:
        """What the steps of each stage hold."""
        return self._trace(_plain(recipe, "rollout", _DRAWING), Parts(rollouts=False))[1]

    def sampling(self, recipe: Recipe, *, here: bool) -> tuple[Sizes, list[Traced]]:
        """What rollouts and evaluations hold in addition to what steps leave behind.

        Args:
            here: in this process; otherwise it is the canary at each weight sync to an engine of another.
        """
        if here:
            return self._trace(_plain(recipe, "memory", Memory.model_fields), Parts(training=False))
        trained = [key for key in Memory.model_fields if key != "logits_chunk"]  # which the canary takes too
        recipe = _plain(_plain(recipe, "memory", trained), "rollout", _DRAWING)
        return self._trace(recipe, Parts(training=False, rollouts=False, canary=True))

    def _trace(self, recipe: Recipe, parts: Parts) -> tuple[Sizes, list[Traced]]:
        recipe = _traceable(recipe)
        key = recipe.model_dump_json(), parts
        if key not in self._known:
            self._known[key] = self._traced(recipe, parts)
        return self._known[key]

    def _traced(self, recipe: Recipe, parts: Parts) -> tuple[Sizes, list[Traced]]:
        if self._formula:
            return self._by_formula(recipe, parts)
        if self._cache and (known := self._cache.get(recipe, parts)):
            return known
        try:
            made = trace(recipe, self.config, self._device_type, parts)
        except UNTRACEABLE as error:
            said = str(error).splitlines()
            self.untraced = f"{type(error).__name__}: {said[0] if said else ''}"
            return self._by_formula(recipe, parts)
        if self._cache:
            self._cache.put(recipe, parts, made)
        return made

    def _by_formula(self, recipe: Recipe, parts: Parts) -> tuple[Sizes, list[Traced]]:
        sizes, traced = by_formula(recipe, self.config, self._device_type)
        sampled = {ROLLOUT, EVALUATION}
        wanted = (sampled if parts.rollouts else set()) | (TRAINED if parts.training else set())
        for one in traced:
            one.peaks = {name: peak for name, peak in one.peaks.items() if name in wanted}
        return sizes, traced


def _traceable(recipe: Recipe) -> Recipe:
    """Return the recipe without what no byte depends on, so that recipes that differ only there share a trace."""
    stages = tuple(
        stage.model_copy(
            update={"steps": 1, "until": None, "guard": None, "learning_rate": 1e-3, "schedule": Schedule()}
        )
        for stage in recipe.stages
    )
    unused = {"name": "plan", "description": "", "seed": 0, "health": Health(), "probes": (), "output": Output()}
    return recipe.model_copy(update={**unused, "stages": stages})


def _plain(recipe: Recipe, section: str, keys: Iterable[str]) -> Recipe:
    """The recipe with some keys of a section as they are by default, also where stages hold a copy of it; unchecked."""
    defaults = type(getattr(recipe, section))()
    values = {key: getattr(defaults, key) for key in keys}

    def plain(holder: Any) -> Any:
        return holder.model_copy(update={section: getattr(holder, section).model_copy(update=values)})

    stages = tuple(plain(stage) if hasattr(stage, section) else stage for stage in recipe.stages)
    return plain(recipe).model_copy(update={"stages": stages})
