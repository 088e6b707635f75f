"""What can be said of probes before anything is loaded: the names of their numbers, and what they don't go with."""

from __future__ import annotations

from prerlkit.errors import UsageError
from prerlkit.probes.alignment import Alignment
from prerlkit.probes.change import Change
from prerlkit.probes.drift import Drift
from prerlkit.probes.exploration import Exploration
from prerlkit.probes.protocol import Probe
from prerlkit.probes.thoughts import Thoughts
from prerlkit.recipe.probes import DriftProbe, ExplorationProbe, ProbeChoice, ThoughtsProbe
from prerlkit.recipe.schema import Recipe

PROBES: tuple[type[Probe], ...] = (Alignment, Thoughts, Exploration, Drift, Change)
METRICS = {probe.name: tuple(name for metric in probe.metrics for name in metric.names) for probe in PROBES}
"""Every number that a probe may give, by the probe's name; docs/probes.md defines them."""


def check_probes(recipe: Recipe) -> None:
    """Raise UsageError for a probe that this recipe's model can't be shown to."""
    for choice in recipe.probes:
        if recipe.memory.shard_base and _makes_passes(choice):
            raise UsageError(
                f'the probe "{choice.name}" makes passes through the model in one process, and memory.shard_base needs '
                "all processes for each pass.",
                f"Leave out one of the two{_cheaper(choice)}.",
            )
        if isinstance(choice, DriftProbe) and any(stage.adapter.dora for stage in recipe.stages):
            raise UsageError(
                'the probe "drift" reads an adapter as a product B·A, which DoRA isn\'t.',
                "Leave out the probe, or set adapter.dora: false.",
            )


def _makes_passes(choice: ProbeChoice) -> bool:
    match choice:
        case ThoughtsProbe():
            return False
        case ExplorationProbe():
            return choice.exact_entropy
        case _:
            return True


def _cheaper(choice: ProbeChoice) -> str:
    return ", or only exact_entropy" if isinstance(choice, ExplorationProbe) else ""
