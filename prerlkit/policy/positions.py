"""Position schemes that depend on a text's length (LongRoPE, dynamic NTK), made one function for a whole run.

In these transformers chooses the frequencies of all positions by the longest text of a pass. A cache then holds keys of
two kinds, and a short text has other log-probs next to a long one: sampler and trainer would be two policies. A run
takes one choice for all of its texts, as vLLM does by its `max_model_len`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_FIXED = "fixed"


def fix_positions(base: Any, longest: int) -> str:
    """Fix the frequencies for texts of up to `longest` tokens; return a line for a person, "" where nothing changes.

    A model whose texts all stay within its original length is left unchanged: its frequencies are always the same.
    """
    fixed: dict[str, int] = {}
    for module, layer_type, kind, original in _changing(base):
        if longest <= original:
            continue
        there = torch.tensor([[longest - 1]], device=base.device)
        states = torch.zeros(1, 1, 1, device=base.device, dtype=base.dtype)
        with torch.no_grad():
            module(states, there, *([layer_type] if layer_type else []))
        if layer_type:
            module.rope_type = {**module.rope_type, layer_type: _FIXED}
        else:
            module.rope_type = _FIXED
        fixed[kind] = original
    return " ".join(
        f"this model's positions ({kind}) depend on a text's length: all texts of this run are computed as those of "
        f"{longest} tokens are, in rollouts and training alike, as vLLM does by max_model_len; with prompts and "
        f"answers of up to {original} tokens together the model's original positions are used"
        for kind, original in fixed.items()
    )


def _changing(base: Any) -> Iterator[tuple[Any, str, str, int]]:
    """Return modules whose frequencies depend on length: module, layer type ("" for all), scheme, original length."""
    found: list[Any] = [module for module in base.modules() if "rope_type" in vars(module)]
    for module in found:
        kinds = module.rope_type if isinstance(module.rope_type, dict) else {"": module.rope_type}
        for layer_type, kind in kinds.items():
            if kind == "longrope":
                settings = module.config.rope_parameters
                settings = settings[layer_type] if layer_type else settings
                yield module, layer_type, kind, int(settings["original_max_position_embeddings"])
            elif isinstance(kind, str) and "dynamic" in kind:
                yield module, layer_type, kind, int(module.original_max_seq_len)
