"""Names of algorithms. A preset is a combination of the five choices and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, create_model
from pydantic_core import PydanticCustomError

from prerlkit.objective.choices import Objective
from prerlkit.suggest import nearest

_CLIP = {"kind": "clip", "low": 0.2, "high": 0.2, "dual": 10.0}
_CLIP_HIGHER = {"kind": "clip", "low": 0.2, "high": 0.28, "dual": 10.0}


def _preset(
    space: str, samples: str, advantage: str | dict[str, Any], loss: str | dict[str, Any], aggregate: str
) -> Mapping[str, Any]:
    return {"space": space, "samples": samples, "advantage": advantage, "loss": loss, "aggregate": aggregate}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # arXiv 2604.14142: the driver of the paper, and its two ablations in pre-train space.
    "nsr-prerl": _preset("pretrain", "negative", "group_mean", _CLIP, "token_mean"),
    "psr-prerl": _preset("pretrain", "positive", "group_mean", _CLIP, "token_mean"),
    "prerl": _preset("pretrain", "all", "group_mean", _CLIP, "token_mean"),
    # arXiv 2402.03300 with DAPO's token mean and clip-higher: the paper's baseline, and its ablations.
    "grpo": _preset("conditional", "all", "group_std", _CLIP_HIGHER, "token_mean"),
    "nsr-rl": _preset("conditional", "negative", "group_std", _CLIP_HIGHER, "token_mean"),
    "psr-rl": _preset("conditional", "positive", "group_std", _CLIP_HIGHER, "token_mean"),
    # arXiv 2503.20783, 2402.14740, 2507.18071, 2506.13585, 2506.01347 in this order.
    "dr-grpo": _preset("conditional", "all", "group_mean", _CLIP, "constant"),
    "rloo": _preset("conditional", "all", "rloo", "reinforce", "token_mean"),
    # arXiv 2602.02710: GRPO with another normalization, as prime-rl has it.
    "max-rl": _preset("conditional", "all", "max_rl", _CLIP_HIGHER, "token_mean"),
    "gspo": _preset("conditional", "all", "group_std", "gspo", "sequence_mean"),
    "cispo": _preset("conditional", "all", "group_std", "cispo", "token_mean"),
    # Supervised fine-tuning on a stage's `demonstrations`: the mean of −log π over the answers' tokens.
    "sft": _preset("conditional", "all", "demonstrated", "reinforce", "token_mean"),
    "w-reinforce": _preset("conditional", "all", {"kind": "constant", "positive": 0.1}, "reinforce", "token_mean"),
}


def expand(value: Any) -> Any:
    """Turn `grpo`, or `{preset: grpo, …overrides}`, into the five choices; leave anything else for validation."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping) or "preset" not in value:
        return value
    name = value["preset"]
    if not isinstance(name, str) or name not in PRESETS:
        raise PydanticCustomError(
            "unknown_preset", "{name} is not a preset{hint}", {"name": repr(name), "hint": nearest(str(name), PRESETS)}
        )
    merged = dict(PRESETS[name])
    for key, override in value.items():
        if key != "preset":
            merged[key] = _merge_choice(merged.get(key), override)
    return merged


def _merge_choice(ours: Any, override: Any) -> Any:
    """Merge `loss: {high: 0.3}` into the preset's clip; a choice of another kind starts from that kind's defaults."""
    if not isinstance(override, Mapping) or ours is None:
        return override
    base = {"kind": ours} if isinstance(ours, str) else dict(ours)
    if override.get("kind", base["kind"]) != base["kind"]:
        return override
    return {**base, **override}


# What an editor's completion shows: a preset's name, a preset with overrides, or the five choices in full.
_PresetWithOverrides = create_model(
    "PresetWithOverrides",
    __config__={"extra": "allow"},
    preset=(str, Field(json_schema_extra={"enum": list(PRESETS)}, description="Name to start from")),
)
_PresetName = Annotated[str, Field(json_schema_extra={"enum": list(PRESETS)})]
ObjectiveChoice = Annotated[
    Objective, BeforeValidator(expand, json_schema_input_type=_PresetName | _PresetWithOverrides | Objective)
]
