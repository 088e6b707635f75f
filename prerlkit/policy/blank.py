"""The base model without its weights: every shape and dtype on the meta device, from a config.json alone.

The classes are the real ones (transformers', bitsandbytes', and PEFT's once adapters are on it), so what is traced on a
blank model is what runs on a loaded one.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch

from prerlkit.errors import UsageError
from prerlkit.policy.base import UNUSABLE, disable_dropout, first_line, quantization_config, settle
from prerlkit.policy.causal import causal_class
from prerlkit.policy.config_limits import check_config
from prerlkit.recipe.model import Model

META = torch.device("meta")


def blank_base(path: str, model: Model, device_type: str) -> Any:
    """Return the causal LM that `load_base` would give, on the meta device.

    Args:
        path: a config.json, or a folder with one.
        device_type: `cpu` or `cuda`, where the real one will compute: it decides which attention is used.

    Raises:
        UsageError: transformers knows no causal LM of this config, or its sizes are absurd or don't fit together.
    """
    from transformers import AutoConfig

    check_config(path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=model.trust_remote_code)
        disable_dropout(config)
        with META:
            base = causal_class(config).from_config(
                config, dtype=getattr(torch, model.dtype), trust_remote_code=model.trust_remote_code
            )
    except UNUSABLE as error:
        raise UsageError(
            f"{path} is no config of a causal language model: {first_line(error)}",
            "Give the config.json of the model that model.id names.",
        ) from error
    if model.quantization != "none":
        _quantize(base, model)
    settle(base, device_type)
    return base


def text_config(path: str) -> Any:
    """Return transformers' config of the language model whose config.json is at `path`, a file or its folder."""
    from transformers import AutoConfig

    check_config(path)
    return AutoConfig.from_pretrained(path).get_text_config()


def _quantize(base: Any, model: Model) -> None:
    """Replace layers as transformers does while loading, then give them the packed shapes that loading would."""
    from transformers.quantizers.auto import AutoHfQuantizer

    quantizer = AutoHfQuantizer.from_config(quantization_config(model), pre_quantized=False)
    quantizer.preprocess_model(model=base, device_map={"": META})
    dtype = getattr(torch, model.dtype)
    # bitsandbytes keeps its code book where it was last used; left on meta, a model loaded afterwards would fail.
    with patch.dict("bitsandbytes.functional.name2qmap"):
        for module in base.modules():
            if type(module).__name__ in ("Linear4bit", "Linear8bitLt"):
                module.weight.data = module.weight.data.to(dtype)
                module.weight._quantize(META)
    quantizer.postprocess_model(base)
