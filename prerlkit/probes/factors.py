"""Norm, effective rank and overlap of ΔW = B·A, computed from the factors: ΔW is never formed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prerlkit.policy.adapters import AdapterStack, Layer
from prerlkit.policy.save import scale_of

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""A [R, I] and scaled B [O, R] of each module, so that the adapter adds B·A to its weight."""

_RELATIVE = 1e-5
"""A singular value below this share of the largest counts as 0: float32 knows no better."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The singular value decomposition of B·A, of its numerical rank K: left_OK · diag(values_K) · right_IKᵀ."""

    left_OK: Tensor
    values_K: Tensor
    right_IK: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm of B·A."""
        return float(self.values_K.double().norm())

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the singular values' shares (Roy and Vetterli, 2007); 0 for B·A = 0."""
        if not len(self.values_K):
            return 0.0
        shares_K = self.values_K.double() / self.values_K.double().sum()
        return float((-shares_K * shares_K.log()).sum().exp())


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much the second of two updates acts on the directions of the first.

    Attributes:
        inputs, outputs: mean squared cosine of the principal angles between the row (column) spaces of the two, from
            0 (orthogonal) to 1 (one contains the other); ‖UᵀV‖²/min(K, L), the φ of arXiv 2106.09685.
        angle_inputs, angle_outputs: cosine of the smallest principal angle.
        cosine: ⟨ΔW_1, ΔW_2⟩ / (‖ΔW_1‖·‖ΔW_2‖): whether it pushes on or back.
        chance_inputs, chance_outputs: what `inputs` and `outputs` are on average for random subspaces.
    """

    inputs: float
    outputs: float
    angle_inputs: float
    angle_outputs: float
    cosine: float
    chance_inputs: float
    chance_outputs: float


@torch.no_grad()
def decompose(a_RI: Tensor, b_OR: Tensor) -> Spectrum:
    """Return singular values and vectors of B·A, by QR of both factors and the SVD of an [R, R] matrix, in float32."""
    left_OR, upper_RR = torch.linalg.qr(b_OR.float())
    right_IR, lower_RR = torch.linalg.qr(a_RI.float().T)
    u_RR, values_R, v_RR = torch.linalg.svd(upper_RR @ lower_RR.T, full_matrices=False)
    kept = int((values_R > _RELATIVE * values_R.max().clamp(min=torch.finfo(torch.float32).tiny)).sum())
    return Spectrum((left_OR @ u_RR)[:, :kept], values_R[:kept], (right_IR @ v_RR.T)[:, :kept])


@torch.no_grad()
def overlap(one: Spectrum, other: Spectrum) -> Overlap | None:
    """None where one of them is 0."""
    if not len(one.values_K) or not len(other.values_K):
        return None
    inputs_KL = one.right_IK.T @ other.right_IK
    outputs_KL = one.left_OK.T @ other.left_OK
    least, most = sorted((len(one.values_K), len(other.values_K)))
    inner = (one.values_K[:, None] * inputs_KL * other.values_K * outputs_KL).double().sum()
    return Overlap(
        inputs=float(inputs_KL.square().sum()) / least,
        outputs=float(outputs_KL.square().sum()) / least,
        angle_inputs=float(torch.linalg.matrix_norm(inputs_KL, 2)),
        angle_outputs=float(torch.linalg.matrix_norm(outputs_KL, 2)),
        cosine=float(inner) / (one.norm * other.norm),
        chance_inputs=most / one.right_IK.shape[0],
        chance_outputs=most / one.left_OK.shape[0],
    )


def of_stack(adapters: AdapterStack) -> tuple[dict[str, Spectrum], dict[str, Overlap]]:
    """Return by module: the spectrum of the trainable adapter, and where there is one its overlap with those below."""
    *below, top = [_factors(adapters, layer) for layer in adapters.layers]
    spectra = {module: decompose(*factors) for module, factors in top.items()}
    overlaps = {
        module: found
        for module, spectrum in spectra.items()
        if (under := _under(below, module)) is not None and (found := overlap(under, spectrum)) is not None
    }
    return spectra, overlaps


def _under(below: Sequence[Factors], module: str) -> Spectrum | None:
    """Return all adapters below the trainable one as one update of `module`: factors side by side."""
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
