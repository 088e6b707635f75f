"""Drift: how far the policy has gone from the base, in nats and in weights, and whether two stages share directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from prerlkit.objective.choices import Kl
from prerlkit.objective.loss import kl_losses
from prerlkit.policy.adapters import AdapterStack, Layer
from prerlkit.policy.save import scale_of
from prerlkit.probes.factors import Overlap, Spectrum, decompose, overlap
from prerlkit.probes.passes import rows_behind_prompts, score
from prerlkit.probes.protocol import ProbeInput, ProbeResult
from prerlkit.recipe.probes import DriftProbe

_K3 = Kl(coefficient=1.0, estimator="k3")
Factors = Mapping[str, tuple[Tensor, Tensor]]
"""A [R, I] and scaled B [O, R] of each module, so that the adapter adds B·A to its weight."""


class Drift:
    """The probe `drift`."""

    name = "drift"

    def __init__(self, settings: DriftProbe) -> None:
        self.every = settings.every
        self._groups = settings.groups

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Two passes without backward for the KL; the rest comes from the adapters' factors, on the CPU."""
        metrics, by_module = _of_factors(seen.policy.adapters)
        return ProbeResult({**self._kl(seen), **metrics}, {"by_module": by_module})

    def _kl(self, seen: ProbeInput) -> dict[str, float]:
        """KL(π‖base) behind the prompts, estimated on completions that were sampled from π."""
        rows = rows_behind_prompts(seen.groups[: self._groups])
        if not rows:
            return {}
        own = score(seen, rows)
        with seen.policy.adapters.bare():
            base = score(seen, rows)
        own_N, base_N = torch.cat(own), torch.cat(base)
        return {
            "probe/drift/kl": float(kl_losses(_K3, own_N, base_N).double().mean()),
            "probe/drift/kl_sequence": float((own_N - base_N).double().sum()) / len(rows),
        }


def _of_factors(adapters: AdapterStack) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over all modules, and the numbers of each module."""
    *below, top = [_factors(adapters, layer) for layer in adapters.layers]
    spectra = {module: decompose(*factors) for module, factors in top.items()}
    overlaps = {
        module: found
        for module, spectrum in spectra.items()
        if (under := _under(below, module)) is not None and (found := overlap(under, spectrum)) is not None
    }
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


def _under(below: Sequence[Factors], module: str) -> Spectrum | None:
    """All adapters below the trainable one as one update of `module`: factors side by side."""
    found = [factors[module] for factors in below if module in factors]
    if not found:
        return None
    return decompose(torch.cat([a for a, _ in found], dim=0), torch.cat([b for _, b in found], dim=1))


def _factors(adapters: AdapterStack, layer: Layer) -> Factors:
    state, scale = adapters.state(layer.name), scale_of(adapters.config(layer.name))
    modules = [key.removesuffix(".lora_A.weight") for key in state if key.endswith(".lora_A.weight")]
    return {
        module.removeprefix("base_model.model."): (
            state[f"{module}.lora_A.weight"].float(),
            state[f"{module}.lora_B.weight"].float() * scale,
        )
        for module in modules
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
