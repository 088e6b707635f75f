"""The result of a run, as `prerlkit.run` returns it and as summary.json has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prerlkit.evaluation.result import EvalResult
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.checkpoint import Position


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of summary.json.

    Attributes:
        exit_reason: `completed`, `stopped` (asked to; resumable) or `failed: …`.
        steps: that each stage has done, by its name; a stage that hasn't begun may be missing.
        effects: what each finished stage did to the policy, in order.
        restored: of each stage that its guard ended, how many of its steps the restored adapter has.
    """

    exit_reason: str
    evaluations: tuple[EvalResult, ...]
    position: Position
    peak_memory_bytes: int
    steps: Mapping[str, int] = field(default_factory=dict)
    effects: tuple[StageEffect, ...] = ()
    restored: Mapping[str, int] = field(default_factory=dict)

    def to_json(self, recipe: Recipe) -> dict[str, Any]:
        more: dict[str, dict[str, Any]] = {name: {"restored": steps} for name, steps in self.restored.items()}
        for effect in self.effects:
            more.setdefault(effect.stage, {})["effect"] = effect.to_json()
        return {
            "name": recipe.name,
            "seed": recipe.seed,
            "exit_reason": self.exit_reason,
            "stages": [
                {"name": s.name, "steps": self.steps.get(s.name, 0), "planned": s.steps, **more.get(s.name, {})}
                for s in recipe.stages
            ],
            "steps": self.position.step,
            "wall_seconds": self.position.seconds,
            "tokens": {"generated": self.position.generated, "trained": self.position.trained},
            "skipped_updates": self.position.skipped,
            "peak_memory_bytes": self.peak_memory_bytes,
            "evaluations": [result.totals() for result in self.evaluations],
        }
