"""Measures how far a 16-bit merge is from the policy that was trained on a 4-bit base. It can't be zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from prerlkit.policy.base import load_base, pick_device
from prerlkit.publish import streamed
from prerlkit.publish.proof import rms
from prerlkit.publish.streamed import StreamedModel
from prerlkit.recipe.model import Model


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
    settings: Model, live: StreamedModel, tokens: tuple[Tensor, Tensor], merged: Callable[[str], Tensor]
) -> FourBit:
    """Load the base in 4 bit as the run did, put the adapters on it, and compare with the merged weights.

    Args:
        settings: of the run's base.
        live: the policy on the 16-bit base.
        tokens: token ids and mask, [B, T] each.
        merged: reads a merged weight by name.
    """
    base: Any = load_base(str(live.folder), settings, pick_device(settings.device))
    on_device = tuple(t.to(base.device) for t in tokens)
    bare = streamed.logits(base, *on_device).cpu()
    stack = streamed.stack_on(base, live.parts, live.lora_scale)
    four_bit = streamed.logits(base, *on_device).cpu()
    del stack, base
    sixteen_bit = live.with_adapters(())
    sixteen = sixteen_bit.logits(tokens)
    ours = sixteen_bit.logits(tokens, merged)
    kl = (four_bit.softmax(-1) * (four_bit.log_softmax(-1) - ours.log_softmax(-1))).sum(-1).mean().item()
    same = (four_bit.argmax(-1) == ours.argmax(-1)).float().mean().item()
    return FourBit(rms(four_bit - ours), rms(bare - sixteen), kl, same)
