"""The nearest adapter of lower rank, layer by layer, and its loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from peft import LoraConfig
from torch import Tensor

from prerlkit.errors import UsageError
from prerlkit.policy.save import scale_of

_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True)
class Reduction:
    """The loss of a rank reduction, as relative Frobenius norms of the change of the weights.

    Attributes:
        error: over all layers together, ‖Δ − Δ'‖ / ‖Δ‖.
        worst: of the layer that lost most, and `worst_module` names it.
    """

    rank_before: int
    rank: int
    error: float
    worst: float
    worst_module: str

    def __str__(self) -> str:
        return (
            f"rank {self.rank_before} → {self.rank}: {100 * self.error:.2g} % of the change is lost, "
            f"{100 * self.worst:.2g} % at the worst layer ({self.worst_module})"
        )

    def to_json(self) -> dict[str, float | int | str]:
        return asdict(self)


def reduced(
    config: LoraConfig, tensors: dict[str, Tensor], rank: int
) -> tuple[LoraConfig, dict[str, Tensor], Reduction]:
    """Return the adapter's best approximation of rank `rank` (Eckart–Young), from the factors alone.

    With up = Q_u R_u and downᵀ = Q_d R_d, the singular values of up @ down are those of the small R_u R_dᵀ.

    Raises:
        UsageError: the rank is not below the adapter's, or the adapter is DoRA.
    """
    if config.use_dora:
        raise UsageError("A DoRA adapter can't be reduced: it is not a product of two factors.", "Leave --rank out.")
    if not 1 <= rank < config.r:
        raise UsageError(
            f"--rank {rank} is not below the adapter's own rank, {config.r}.", "Leave --rank out to keep it."
        )
    made: dict[str, Tensor] = {}
    total = lost = 0.0
    worst, worst_module = 0.0, ""
    for key in sorted(k for k in tensors if k.endswith(_A)):
        module = key.removesuffix(_A)
        up = tensors[module + _B].double() * scale_of(config)  # [out, r]
        q_up, r_up = torch.linalg.qr(up)
        q_down, r_down = torch.linalg.qr(tensors[key].double().T)  # downᵀ: [in, r]
        left, values, right = torch.linalg.svd(r_up @ r_down.T)
        root = values[:rank].sqrt()
        made[module + _A] = (root[:, None] * (right[:rank] @ q_down.T)).float().contiguous()
        made[module + _B] = ((q_up @ left[:, :rank]) * root).float().contiguous()
        whole, rest = values.square().sum().item(), values[rank:].square().sum().item()
        total, lost = total + whole, lost + rest
        if whole and (share := (rest / whole) ** 0.5) >= worst:
            worst, worst_module = share, module.removeprefix("base_model.model.")
    smaller = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=config.target_modules, bias="none", task_type="CAUSAL_LM",
        inference_mode=True,
    )  # fmt: skip
    error = (lost / total) ** 0.5 if total else 0.0
    return smaller, made, Reduction(config.r, rank, error, worst, worst_module)
