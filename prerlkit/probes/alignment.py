"""Gradient alignment: does pushing log P(y) push log P(y|x) the same way? (arXiv 2604.14142; docs/probes.md)

    g_s(S) = ∇_φ Σ_{y∈S} w_y log P_s(y)      s: pre-train space (y behind the start token) or conditional (behind x)
    alignment(S) = ⟨g_pretrain(S), g_conditional(S)⟩ / (‖g_pretrain(S)‖ · ‖g_conditional(S)‖)

φ are the parameters of the trainable adapter, S the judged completions of the first groups of the step: all of them, or
those with an advantage above or below 0. Gradients add up over S before the cosine is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prerlkit.metrics.metric import Metric
from prerlkit.objective.advantage import advantages
from prerlkit.probes.protocol import Probe, ProbeInput, ProbeResult
from prerlkit.settings import PositiveInt, ProbeSettings

if TYPE_CHECKING:
    from torch import Tensor


class AlignmentSettings(ProbeSettings):
    """Cosine of ∇log P(y) and ∇log P(y|x) on the trainable adapter (arXiv 2604.14142); docs/probes.md has the sums."""

    name: Literal["alignment"] = "alignment"
    every: PositiveInt = 5
    """Steps of a stage between two measurements; its first step is always measured. 5: ours."""
    groups: PositiveInt = 4
    """How many groups of the step, the first ones: each costs two passes with backward. 4: ours."""
    weight: Literal["uniform", "advantage"] = "uniform"
    """uniform: every judged completion counts the same. advantage: by its advantage, as in a policy gradient."""


METRICS = (
    Metric("probe/alignment", "cosine over all completions of S"),
    Metric("probe/alignment/positive", "over those with an advantage above 0"),
    Metric("probe/alignment/negative", "over those with an advantage below 0: what NSR-PreRL pushes away"),
    Metric("probe/alignment/norm_ratio", "‖g_pretrain‖ / ‖g_conditional‖ over all", "ratio"),
)

SETS = ("all", "positive", "negative")


@dataclass(frozen=True, slots=True)
class Products:
    """Inner products of two gradients, on the same parameters; they add up over parameters."""

    dot: float = 0.0
    pretrain: float = 0.0
    conditional: float = 0.0

    def __add__(self, other: Products) -> Products:
        return Products(self.dot + other.dot, self.pretrain + other.pretrain, self.conditional + other.conditional)

    @property
    def cosine(self) -> float | None:
        """The cosine; None where one of the gradients is 0 or not finite."""
        norms = math.sqrt(self.pretrain) * math.sqrt(self.conditional)
        return self.dot / norms if norms > 0.0 and math.isfinite(norms) and math.isfinite(self.dot) else None


@dataclass(frozen=True, slots=True)
class _Chosen:
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    advantage: float
    weight: float


class Alignment(Probe):
    """The probe `alignment`."""

    name = "alignment"
    Settings = AlignmentSettings
    metrics = METRICS

    settings: AlignmentSettings

    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Make two passes with backward over the chosen completions; the sums of gradients are in main memory."""
        chosen = self._choose(seen)
        names = [name for name, parameter in seen.policy.base.named_parameters() if parameter.requires_grad]
        whole: list[list[Tensor]] = []  # of both spaces
        products: dict[str, Mapping[str, Products]] = {}
        for kind, part in _by_sign(chosen).items():
            if not part:
                continue
            pair = [self._gradient(seen, part, space) for space in ("pretrain", "conditional")]
            products[kind] = _products(names, *pair)
            whole = [_sum(*both) for both in zip(whole, pair, strict=True)] if whole else pair
        if whole:
            products["all"] = _products(names, *whole)
        return _reading(chosen, {kind: products[kind] for kind in SETS if kind in products})

    def _choose(self, seen: ProbeInput) -> list[_Chosen]:
        """Return the judged completions of the first groups. The stage's first objective gives their sign."""
        pairs = [
            (group.prompt, completion, advantage)
            for group in seen.groups[: self.settings.groups]
            for completion, advantage in zip(
                group.completions, advantages(group.verdicts, seen.stage.objective[0].advantage), strict=True
            )
            if advantage is not None and completion.token_ids
        ]
        uniform = self.settings.weight == "uniform"
        return [
            _Chosen(prompt.token_ids, y.token_ids, advantage, (1.0 if uniform else advantage) / len(pairs))
            for prompt, y, advantage in pairs
        ]

    def _gradient(self, seen: ProbeInput, part: Sequence[_Chosen], space: str) -> list[Tensor]:
        from prerlkit.policy.microbatch import TokenRow
        from prerlkit.probes.passes import gradient

        start = (seen.policy.start.id,)
        rows = [TokenRow(start if space == "pretrain" else one.prompt, one.completion) for one in part]
        return gradient(seen, rows, [one.weight for one in part])


def _sum(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
    return [a.add_(b) for a, b in zip(one, other, strict=True)]


def _by_sign(chosen: Sequence[_Chosen]) -> dict[str, list[_Chosen]]:
    return {
        "positive": [one for one in chosen if one.advantage > 0.0],
        "negative": [one for one in chosen if one.advantage < 0.0],
        "zero": [one for one in chosen if one.advantage == 0.0 and one.weight != 0.0],
    }


def _products(names: Sequence[str], pretrain: Sequence[Tensor], conditional: Sequence[Tensor]) -> dict[str, Products]:
    """Return the inner products by parameter, summed in float64."""
    found = {}
    for name, a, b in zip(names, pretrain, conditional, strict=True):
        x, y = a.flatten().double(), b.flatten().double()
        found[name] = Products(float(x @ y), float(x @ x), float(y @ y))
    return found


def _reading(chosen: Sequence[_Chosen], products: Mapping[str, Mapping[str, Products]]) -> ProbeResult:
    totals = {kind: sum(own.values(), Products()) for kind, own in products.items()}
    metrics = {
        "probe/alignment" if kind == "all" else f"probe/alignment/{kind}": cosine
        for kind, total in totals.items()
        if (cosine := total.cosine) is not None
    }
    if "probe/alignment" in metrics:
        metrics["probe/alignment/norm_ratio"] = math.sqrt(totals["all"].pretrain / totals["all"].conditional)
    parts = _by_sign(chosen)
    details: dict[str, Any] = {
        "completions": {"all": len(chosen), "positive": len(parts["positive"]), "negative": len(parts["negative"])},
        "by_layer": {kind: _cosines(own, layer_of) for kind, own in products.items()},
        "by_module": {kind: _cosines(own, _module_of) for kind, own in products.items()},
        "by_factor": {kind: _cosines(own, _factor_of) for kind, own in products.items()},
    }
    return ProbeResult(metrics, details)


def _cosines(own: Mapping[str, Products], place: Callable[[str], str]) -> dict[str, float | None]:
    """Return the cosine on the parameters of each place that `place` names; null where one of the gradients is 0."""
    sums: dict[str, Products] = {}
    for name, products in own.items():
        sums[place(name)] = sums.get(place(name), Products()) + products
    return {where: products.cosine for where, products in sums.items()}


def layer_of(name: str) -> str:
    """Return `model.layers.3` for `model.layers.3.mlp.up_proj.lora_A.stage0.weight`; outside of layers the module."""
    found = re.match(r".*?\.\d+(?=\.)", _whole_module(name))
    return found[0] if found else _whole_module(name)


def _module_of(name: str) -> str:
    return _whole_module(name).rpartition(".")[2]


def _factor_of(name: str) -> str:
    return "A" if ".lora_A." in name else "B" if ".lora_B." in name else "magnitude"


def _whole_module(name: str) -> str:
    return name.partition(".lora_")[0]
