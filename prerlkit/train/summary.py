"""The result of a run, as `prerlkit.run` returns it and as summary.json has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prerlkit.evaluation.effect_words import effect_rows
from prerlkit.evaluation.result import EvalResult, html_of
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.page.table import html_table
from prerlkit.page.text import visible
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.checkpoint import Position
from prerlkit.runs.run import Run

if TYPE_CHECKING:
    from prerlkit.runs.figure import RunFigure


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of summary.json.

    Attributes:
        exit_reason: `completed`, `stopped` (asked to; resumable) or `failed: …`.
        steps: that each stage has done, by its name; a stage that hasn't begun may be missing.
        effects: what each finished stage did to the policy, in order.
        restored: of each stage that its guard ended, how many of its steps the restored adapter has.
        folder: of the run.
    """

    exit_reason: str
    evaluations: tuple[EvalResult, ...]
    position: Position
    peak_memory_bytes: int
    steps: Mapping[str, int] = field(default_factory=dict)
    effects: tuple[StageEffect, ...] = ()
    restored: Mapping[str, int] = field(default_factory=dict)
    folder: Path = Path()

    def __repr__(self) -> str:
        """Return one line: how it ended, and the score of the first and of the last evaluation."""
        scores = [result.score for result in self.evaluations if result.score is not None]
        score = f", held-out {100 * scores[0]:.1f} % → {100 * scores[-1]:.1f} %" if scores else ""
        return f"<Summary {self.exit_reason}, {self.position.step} steps in {self.position.seconds:.0f} s{score}>"

    def _repr_html_(self) -> str:
        """Return how it ended and the evaluations, with what each stage did, as tables for notebooks."""
        parts = [f"<p>{escape(visible(repr(self)[1:-1]))}</p>"]
        if self.evaluations:
            parts.append(html_of(self.evaluations))
        if self.effects:
            parts.append(html_table("what each stage did", *effect_rows(self.effects)))
        return "".join(parts)

    def plot(self) -> RunFigure:
        """Return the run's curves as a matplotlib figure: `prerlkit.runs.run.Run.plot`.

        Raises:
            UsageError: matplotlib is not installed.
        """
        return Run.open(self.folder).plot()

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
