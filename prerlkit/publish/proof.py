"""Proves that the merged model is the trained policy, by logits in float32 compared with the effect of rounding.

Peers' merges have returned the base, garbage, or the adapter twice, without an error. Three numbers show this:

* astray: how far the merged model's logits are from those of the live weights rounded to the dtype. The live weights
  are measured from PEFT's layers (`StreamedModel.live_weights`), independently of the merge. A right merge rounds the
  same sums, made in another order, and differs only where a sum is on the edge between two values.
* distance: how far the merged model is from the base. Below `rounding`, it can't be distinguished from a rounded base.
  `rounding` is three times the `noise`: the effect of moving the weights at random within half a step of the dtype.
* lost: how far the rounded live weights are from the live ones: no merge in this dtype can keep this part. Rounding to
  nearest removes changes far below a step. A merge that loses too much of the change is not the policy.

`error`, merged against live, is thus at most `lost` plus the bound of `astray`. `share`, the fraction of the way from
the base to the policy, shows the fault: 1 for a right merge; 0 when the base came back; 2 when an adapter was counted
twice; r/alpha when a scale was dropped.

All are root mean squares over the logits of the probe texts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prerlkit.errors import PrerlkitError

PROBES = (
    "What is 17 + 25? Answer with the number only.",
    "Solve 3x - 5 = 16 for x. 3x = 21, so x = 7. Wait, let me check that again: 3 * 7 - 5 = 16.",
    "Once upon a time there was a mill by the river, and in it lived an old miller.",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
)
OWN_SAMPLES = 4
"""Number of probe texts from the run's samples, in addition to PROBES: training changed these most."""
PROBE_TOKENS = 64
"""The last tokens of a probe text that are used."""
NOISES = 3.0
"""`rounding`, in units of the noise. Ours: where rounding removes no change, a right merge is 0.8 to 1.1 away."""
EDGE = 0.25
"""Bound of `astray`, in units of the noise. Two float32 sums of one weight may differ by 2⁻²⁴ of it. With p bits of
significand the steps of a dtype are 2¹⁻ᵖ of a weight, so at most one in 2²⁴⁻ᵖ weights is rounded to two values, a whole
step apart: √(12 / 2²⁴⁻ᵖ) of the noise, 1.4 % for bfloat16 (p = 8), 3.8 % for float16 (p = 11). For float32 FLOOR is the
bound. Measured on six quickstart runs in both 16-bit dtypes: 0."""
FLOOR = 1e-5
"""Added to the bounds, times the logits' own size: float32 sums in another order differ by less (measured: 2e-6)."""
LOST = 0.1
"""Largest loss by rounding, as a share of the effect. Ours, and a matter of taste: a tenth of the change."""

Read = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class MergeProof:
    """The measured figures. Root mean squares of differences of float32 logits, unless stated otherwise.

    Attributes:
        error: merged against live; `error_max` is the largest single difference.
        bound: on the error: `lost` and `edge` together.
        lost: live, its weights rounded to the dtype, against live.
        astray: merged against live with its weights rounded; `edge` is the bound on it.
        noise: live on a base whose weights are moved at random within half a rounding step, against live.
        rounding: bound of the effect of rounding alone.
        effect: live against base.
        distance: merged against base.
        share: of the way from base to live, by projection; 1 is all of it.
        scale: of the live logits themselves.
        tokens: how many positions.
    """

    dtype: str
    error: float
    error_max: float
    bound: float
    lost: float
    astray: float
    edge: float
    noise: float
    rounding: float
    effect: float
    distance: float
    share: float
    scale: float
    tokens: int

    @property
    def failure(self) -> str:
        """Why this merge is refused; "" when it is proven."""
        measured = (self.error, self.lost, self.astray, self.noise, self.effect, self.distance, self.scale)
        if not all(map(math.isfinite, measured)):  # NaN is neither within a bound nor outside of it
            return "the logits of the policy or of the merged model are not numbers (NaN or infinite)"
        if self.effect <= self.rounding:
            return (
                f"the adapter moves the logits by {self.effect:.2g}, which is no more than rounding to {self.dtype} "
                f"may move them ({self.rounding:.2g}): merged, it could not be distinguished from its base"
            )
        if self.distance <= self.rounding:
            return f"the merged model is its base: {self.distance:.2g} from it, within rounding ({self.rounding:.2g})"
        if not self.astray <= self.edge:  # also when it is not a number
            return (
                f"the merged model's logits are {self.astray:.2g} from those of the policy's own weights rounded to "
                f"{self.dtype}, and at most {self.edge:.2g} is allowed; it went {100 * self.share:.0f} % of the way "
                "from the base to the policy (0: it is the base; 200: an adapter was counted twice)"
            )
        if self.swallowed:
            return (
                f"rounding to {self.dtype} costs {100 * self.lost / self.effect:.0f} % of the trained change, and at "
                f"most {100 * LOST:.0f} % is allowed: most changes are smaller than its steps"
            )
        return ""

    @property
    def swallowed(self) -> bool:
        """Whether the dtype is too coarse for the trained change, for any merge."""
        return self.effect <= self.rounding or self.lost > max(LOST * self.effect, self.edge)

    @property
    def advice(self) -> str:
        """Advice on a failure."""
        if self.swallowed and self.dtype != "float32":
            finer = "--dtype float16 (eight times finer) or float32" if self.dtype == "bfloat16" else "--dtype float32"
            return (
                f"The change may be too small for {self.dtype}: try {finer}, or use the adapter unmerged "
                "(`prerlkit export`)."
            )
        if self.effect <= self.rounding:
            return "The adapter changes nothing: see the run's metrics for whether any step had a gradient."
        return (
            "The base's files and the adapter don't fit together, or this is a bug: please report it with the recipe."
        )

    def __str__(self) -> str:
        return (
            f"logits over {self.tokens} tokens, float32: merged is {self.error:.2g} from the live policy (rounding to "
            f"{self.dtype} allows {self.bound:.2g}), which is {self.effect:.2g} from the base; "
            f"{100 * self.share:.1f} % of the trained change is in it"
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "proven": not self.failure}


def compare(*, dtype: str, live: Tensor, merged: Tensor, base: Tensor, rounded: Tensor, noisy: Tensor) -> MergeProof:
    """Compute the proof from five sets of logits, [N, V] each.

    Args:
        rounded: of the live weights, each rounded to the dtype.
        noisy: of the live policy on a base that was `shaken`.
    """
    scale, noise, effect, lost = rms(live), rms(noisy - live), rms(live - base), rms(rounded - live)
    edge = EDGE * noise + FLOOR * scale
    way = live - base
    share = ((merged - base) * way).sum().item() / max((way * way).sum().item(), 1e-30)
    return MergeProof(
        dtype=dtype,
        error=rms(merged - live),
        error_max=(merged - live).abs().max().item(),
        bound=lost + edge,
        lost=lost,
        astray=rms(merged - rounded),
        edge=edge,
        noise=noise,
        rounding=NOISES * noise + FLOOR * scale,
        effect=effect,
        distance=rms(merged - base),
        share=share,
        scale=scale,
        tokens=live.shape[0],
    )


def rms(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()


def rounded(read: Read, dtype: torch.dtype) -> Read:
    """Return `read`, its weights rounded to `dtype`."""

    def reading(name: str) -> Tensor:
        weight = read(name)
        return weight.to(dtype) if weight.is_floating_point() else weight

    return reading


def shaken(read: Read, dtype: torch.dtype, moved: Callable[[str], bool]) -> Read:
    """Return `read`, its weights moved at random within half a step of `dtype`: the average effect of rounding.

    Weights that a merge neither changes nor rounds stay unchanged.

    Args:
        moved: whether the merge changes the weight of that name.
    """

    def reading(name: str) -> Tensor:
        weight = read(name)
        if not weight.is_floating_point() or not (
            moved(name) or not torch.equal(weight.to(dtype).to(weight.dtype), weight)
        ):
            return weight
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]))
        weight = weight.float()
        step = torch.finfo(dtype).eps * torch.exp2(torch.frexp(weight).exponent.float() - 1)
        return weight + (torch.rand(weight.shape, generator=generator) - 0.5) * step

    return reading


def probe_tokens(tokenizer: Any, samples: Path) -> tuple[Tensor, Tensor]:
    """Return token ids and mask of the probe texts, padded on the right. [B, T] each

    Args:
        samples: the run's samples.jsonl; its last prompts with an answer each are probes too.
    """
    rows = [
        ids[-PROBE_TOKENS:]
        for text in [*PROBES, *_own(samples)]
        if (ids := tokenizer(text, add_special_tokens=False)["input_ids"])
    ]
    if not rows:
        raise PrerlkitError("The tokenizer turns every probe text into nothing.", "Check the base's tokenizer.")
    width = max(map(len, rows))
    tokens_BT = torch.tensor([row + [row[0]] * (width - len(row)) for row in rows])
    mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return tokens_BT, mask_BT


def _own(samples: Path) -> Sequence[str]:
    if not samples.is_file():
        return []
    texts = []
    for line in samples.read_text(encoding="utf-8").splitlines()[-OWN_SAMPLES:]:
        try:
            sample = json.loads(line)
            text = sample["prompt"] + sample["completions"][0]["text"]
        except (ValueError, LookupError, TypeError):
            continue  # a torn last line
        texts.append(text.encode("utf-8", "replace").decode("utf-8"))
    return texts
