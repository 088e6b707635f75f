"""A 16-bit copy of a 4-bit base, for engines that can't compute with NF4 weights.

vLLM 0.32 has no bitsandbytes. With the published 16-bit weights it would sample from another model than the trained
one. The copy holds the dequantized 4-bit weights, so the two differ by rounding only.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from prerlkit.files import new_folder
from prerlkit.policy.causal import causal_class


@torch.no_grad()
def write_dense(base: Any, folder: Path) -> None:
    """Write `base` (no adapters on it yet) with its 4-bit layers dequantized, as a folder that transformers reads."""
    import bitsandbytes.functional as bnb

    config = copy.deepcopy(base.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    dtype = base.dtype
    state = {}
    for name, module in base.named_modules():
        for key, parameter in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if type(module).__name__ == "Linear4bit" and key == "weight":
                parameter = bnb.dequantize_4bit(parameter.data, parameter.quant_state).to(dtype)
            state[f"{name}.{key}" if name else key] = parameter.detach().to("cpu")
    with torch.device("meta"):
        plain = causal_class(config).from_config(config, dtype=dtype)
    wanted = plain.state_dict().keys()
    plain.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False, assign=True)
    plain.tie_weights()
    with new_folder(folder) as temporary:
        plain.save_pretrained(temporary)
