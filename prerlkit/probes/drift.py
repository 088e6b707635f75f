"""Drift: distance of the policy from the base, in nats and in weights, and whether two stages share directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from prerlkit.errors import UsageError
from prerlkit.metrics.metric import Metric
from prerlkit.objective.choices import Kl
from prerlkit.probes.protocol import Probe, ProbeInput, ProbeResult
from prerlkit.settings import PositiveInt, ProbeSettings

if TYPE_CHECKING:
    from prerlkit.probes.factors import Overlap, Spectrum
    from prerlkit.recipe.schema import Recipe


class DriftSettings(ProbeSettings):
    """How far the policy has gone: KL to the base, norm and effective rank of the adapter, overlap with those below."""

    name: Literal["drift"] = "drift"
    every: PositiveInt = 5
    """Steps of a stage between two measurements. 5: ours."""
    groups: PositiveInt = 4
    """How many groups the KL is estimated on: each costs two passes without backward. 4: ours."""


METRICS = (
    Metric(
        "probe/drift/kl",
        "KL(π‖base): the k3 estimate over the tokens of the step's first `groups` groups, which were drawn from π",
        "nats a token",
    ),
    Metric(
        "probe/drift/kl_stage",
        "the same to the policy before the current stage: how large the stage's dose is so far. A third pass, except "
        "in a first stage, where it is `kl`",
        "nats a token",
    ),
    Metric(
        "probe/drift/kl_sequence",
        "mean of Σ_t log π/base (k1: unbiased, with more noise, and it may be below 0)",
        "nats a completion",
    ),
    Metric("probe/drift/norm", "Frobenius norm of what the trainable adapter adds to the weights, over all modules"),
    Metric(
        "probe/drift/effective_rank",
        "of each module's B·A, exp of the entropy of its singular values' shares (Roy and Vetterli, 2007); mean over "
        "modules. At most the adapter's rank",
    ),
    Metric(
        "probe/drift/overlap_inputs",
        "for a stack: how much of the row space of the trainable adapter lies in that of all adapters below it: mean "
        "squared cosine of principal angles, 0 to 1; mean over modules",
    ),
    Metric("probe/drift/overlap_inputs_max", "the largest of a module"),
    Metric("probe/drift/overlap_outputs", "the same of column spaces"),
    Metric("probe/drift/overlap_outputs_max", "the largest of a module"),
    Metric(
        "probe/drift/overlap_cosine",
        "⟨ΔW_below, ΔW_trainable⟩ / norms, mean over modules: above 0 it pushes on, below 0 it pushes back",
    ),
)

_K3 = Kl(coefficient=1.0, estimator="k3")


class Drift(Probe):
    """The probe `drift`."""

    name = "drift"
    Settings = DriftSettings
    metrics = METRICS

    settings: DriftSettings

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if any(stage.adapter.dora for stage in recipe.stages):
            raise UsageError(
                'the probe "drift" reads an adapter as a product B·A, which DoRA isn\'t.',
                "Leave out the probe, or set adapter.dora: false.",
            )

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Make two passes without backward for the KL; the rest is computed from the adapters' factors, on the CPU."""
        from prerlkit.probes.factors import of_stack

        metrics, by_module = _of_factors(*of_stack(seen.policy.adapters))
        return ProbeResult({**self._kl(seen), **metrics}, {"by_module": by_module})

    def _kl(self, seen: ProbeInput) -> dict[str, float]:
        """Return KL(π‖base) given the prompts, estimated on completions that were sampled from π."""
        import torch

        from prerlkit.objective.loss import kl_losses
        from prerlkit.probes.passes import rows_behind_prompts, score

        rows = rows_behind_prompts(seen.groups[: self.settings.groups])
        if not rows:
            return {}
        own = score(seen, rows)
        with seen.policy.adapters.bare():
            base = score(seen, rows)
        own_N, base_N = torch.cat(own), torch.cat(base)
        before_N = base_N
        if len(seen.policy.adapters.layers) > 1 or seen.policy.adapters.layers[0].start is not None:
            with seen.policy.adapters.before_stage():
                before_N = torch.cat(score(seen, rows))
        return {
            "probe/drift/kl_stage": float(kl_losses(_K3, own_N, before_N).double().mean()),
            "probe/drift/kl": float(kl_losses(_K3, own_N, base_N).double().mean()),
            "probe/drift/kl_sequence": float((own_N - base_N).double().sum()) / len(rows),
        }


def _of_factors(
    spectra: Mapping[str, Spectrum], overlaps: Mapping[str, Overlap]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the metrics over all modules, and the numbers of each module."""
    by_module = {
        module: {"norm": spectrum.norm, "effective_rank": spectrum.effective_rank}
        | ({"overlap": asdict(overlaps[module])} if module in overlaps else {})
        for module, spectrum in spectra.items()
    }
    metrics = {
        "probe/drift/norm": math.sqrt(sum(spectrum.norm**2 for spectrum in spectra.values())),
        "probe/drift/effective_rank": _mean([spectrum.effective_rank for spectrum in spectra.values()]),
        **_summary(list(overlaps.values())),
    }
    return metrics, by_module


def _summary(overlaps: Sequence[Overlap]) -> dict[str, float]:
    if not overlaps:
        return {}
    inputs, outputs = [each.inputs for each in overlaps], [each.outputs for each in overlaps]
    return {
        "probe/drift/overlap_inputs": _mean(inputs),
        "probe/drift/overlap_inputs_max": max(inputs),
        "probe/drift/overlap_outputs": _mean(outputs),
        "probe/drift/overlap_outputs_max": max(outputs),
        "probe/drift/overlap_cosine": _mean([each.cosine for each in overlaps]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
