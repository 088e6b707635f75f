"""From the recipe's section to the probes themselves."""

from __future__ import annotations

from prerlkit.probes.alignment import Alignment
from prerlkit.probes.change import Change
from prerlkit.probes.drift import Drift
from prerlkit.probes.exploration import Exploration
from prerlkit.probes.protocol import Probe
from prerlkit.probes.thoughts import Thoughts
from prerlkit.recipe.probes import AlignmentProbe, ChangeProbe, DriftProbe, ExplorationProbe, ProbeChoice, ThoughtsProbe
from prerlkit.recipe.schema import Recipe


def make_probes(recipe: Recipe) -> tuple[Probe, ...]:
    """The recipe's probes, in its order."""
    return tuple(_make(choice) for choice in recipe.probes)


def _make(choice: ProbeChoice) -> Probe:
    match choice:
        case AlignmentProbe():
            return Alignment(choice)
        case ThoughtsProbe():
            return Thoughts(choice)
        case ExplorationProbe():
            return Exploration(choice)
        case DriftProbe():
            return Drift(choice)
        case ChangeProbe():
            return Change(choice)
