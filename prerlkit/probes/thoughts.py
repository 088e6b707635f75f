"""Thoughts in the step's completions, by the phrases of `evaluation.thoughts`, and their ratio to the start's.

The paper (arXiv 2604.14142) reports ×14.89 transition and ×6.54 reflection thoughts under NSR-PreRL.
"""

from __future__ import annotations

from typing import Literal

from prerlkit.evaluation.thoughts import KINDS, mean_counts
from prerlkit.metrics.metric import Metric
from prerlkit.probes.protocol import History, Probe, ProbeInput, ProbeResult
from prerlkit.settings import PositiveInt, ProbeSettings


class ThoughtsSettings(ProbeSettings):
    """Transition, reflection, verification and decomposition phrases in the step's completions."""

    name: Literal["thoughts"] = "thoughts"
    every: PositiveInt = 1
    """Steps of a stage between two measurements. 1: it costs next to nothing."""
    start: PositiveInt = 5
    """The mean of so many first measurements of the run is what ratios are taken to. 5: ours."""


METRICS = (
    Metric("probe/thoughts/<kind>", "for each completion, on average", parts=KINDS),
    Metric("probe/thoughts/<kind>_per_1k", "for each thousand tokens", parts=KINDS),
    Metric(
        "probe/thoughts/<kind>_ratio",
        "for each completion, divided by the mean of the run's first `start` measurements (5): what the paper gives as "
        "×14.89 for transition and ×6.54 for reflection under NSR-PreRL. Absent until those are made, and where their "
        "mean is 0",
        "ratio",
        parts=KINDS,
    ),
)


class Thoughts(Probe):
    """The probe `thoughts`."""

    name = "thoughts"
    Settings = ThoughtsSettings
    metrics = METRICS
    makes_passes = False

    settings: ThoughtsSettings

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Count in all completions of the step, unjudged ones too."""
        completions = [completion for group in seen.groups for completion in group.completions]
        tokens = sum(len(completion.token_ids) for completion in completions)
        counts = mean_counts(completion.text for completion in completions)
        metrics = {}
        for kind, each in counts.items():
            metrics[f"probe/thoughts/{kind}"] = each
            metrics[f"probe/thoughts/{kind}_per_1k"] = 1000.0 * each * len(completions) / max(1, tokens)
            start = self._at_start(seen.past, f"probe/thoughts/{kind}")
            if start:
                metrics[f"probe/thoughts/{kind}_ratio"] = each / start
        return ProbeResult(metrics)

    def _at_start(self, past: History, name: str) -> float:
        """Return the mean of the run's first measurements; 0 while there are fewer than asked for."""
        first = [metrics[name] for _, metrics in past if name in metrics][: self.settings.start]
        return sum(first) / len(first) if len(first) == self.settings.start else 0.0
