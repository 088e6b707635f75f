"""From a recipe's section to its probes, built-in ones by name and those from files; nothing heavy is imported."""

from __future__ import annotations

from prerlkit.errors import UsageError
from prerlkit.metrics.catalogue import PROBE
from prerlkit.plugins import built_in, make
from prerlkit.probes.protocol import Probe
from prerlkit.recipe.probes import PROBES, FileProbe
from prerlkit.recipe.schema import Recipe
from prerlkit.settings import ProbeSettings


def known_probes() -> tuple[type[Probe], ...]:
    """Return the built-in probes."""
    return tuple(built_in(where) for where in PROBES.values())


def make_probes(recipe: Recipe) -> tuple[Probe, ...]:
    """Return the recipe's probes, in its order.

    Raises:
        UsageError: one is in a file that fails to import, has no such class, or refuses its settings.
    """
    return tuple(_make(choice, f"probes[{number}]") for number, choice in enumerate(recipe.probes))


def check_probes(recipe: Recipe) -> None:
    """Raise UsageError for a probe that this recipe can't have."""
    for probe in make_probes(recipe):
        probe.check(recipe)


def metric_names(probe: type[Probe] | Probe) -> tuple[str, ...]:
    """Return every name under which the probe may record a number."""
    return tuple(name for metric in probe.metrics for name in metric.names)


def _make(choice: ProbeSettings, key: str) -> Probe:
    if not isinstance(choice, FileProbe):
        made: Probe = built_in(PROBES[choice.name])(choice)
        return made
    probe: Probe = make(choice.name, choice.settings, Probe, f"{key}.name")
    probe.name, probe.every = choice.label, choice.every
    for name in metric_names(probe):
        if not PROBE.matches(name):
            raise UsageError(f"{key}.name: {choice.name}: the metric {name} has to begin with {PROBE.of('')}")
    return probe
