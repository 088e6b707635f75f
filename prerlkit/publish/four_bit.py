"""How far a 16-bit merge is from the policy that was trained on a 4-bit base: measured, as it can't be zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from prerlkit.policy.adapters import AdapterStack
from prerlkit.policy.base import load_base, pick_device
from prerlkit.publish import streamed
from prerlkit.publish.proof import rms
from prerlkit.publish.weights import Weights
from prerlkit.runs.trained import TrainedRun


@dataclass(frozen=True, slots=True)
class FourBit:
    """The 4-bit policy against the merged model on the probe texts.

    Attributes:
        difference: root mean square over logits; `quantization` is the same between the two bases, without adapters.
        kl: KL(4-bit policy ‖ merged), nats a token.
        same_top: share of positions with the same likeliest token.
    """

    difference: float
    quantization: float
    kl: float
    same_top: float

    def __str__(self) -> str:
        return (
            f"4-bit policy against this model: logits differ by {self.difference:.2g} (the bases alone by "
            f"{self.quantization:.2g}), KL {self.kl:.2g} nats a token, same likeliest token at "
            f"{100 * self.same_top:.0f} %"
        )

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def four_bit_difference(
    run: TrainedRun, source: Path, merged: Callable[[str], Tensor], tokens: tuple[Tensor, Tensor], lora_scale: float
) -> FourBit:
    """Load the base in 4 bit as the run did, put the adapters on it, and compare with the merged weights.

    Args:
        source: the 16-bit base's folder.
        merged: reads a merged weight by name.
        tokens: token ids and mask, [B, T] each.
    """
    model = run.recipe.model
    base: Any = load_base(str(source), model, pick_device(model.device))
    on_device = tuple(t.to(base.device) for t in tokens)
    bare = streamed.logits(base, *on_device).cpu()
    stack = AdapterStack(base)
    for part in run.parts:
        stack.fresh(part.name, part.settings, seed=0)
        stack.load_state(part.name, {k: v * lora_scale if ".lora_B." in k else v for k, v in part.tensors.items()})
    live = streamed.logits(base, *on_device).cpu()
    del stack, base
    trust = model.trust_remote_code
    sixteen = streamed.folder_logits(source, Weights(source), tokens, trust_remote_code=trust)
    ours = streamed.folder_logits(source, merged, tokens, trust_remote_code=trust)
    kl = (live.softmax(-1) * (live.log_softmax(-1) - ours.log_softmax(-1))).sum(-1).mean().item()
    same = (live.argmax(-1) == ours.argmax(-1)).float().mean().item()
    return FourBit(rms(live - ours), rms(bare - sixteen), kl, same)
