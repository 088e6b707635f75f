"""The Unsloth backend: its loader, its attention and norms, its gradient checkpointing that offloads to host memory.

Adapters stay PEFT layers of our stack. Unsloth's fused LoRA kernels take exactly one active adapter and raise at two
(`get_lora_parameters` of 2026.10.7); a stack has a frozen adapter and a trainable one. Without Unsloth's
`get_peft_model` its layers call the projections unchanged, so a stack computes exactly as in transformers.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch

from prerlkit.cache import cache_root
from prerlkit.errors import UsageError
from prerlkit.install import pip_install
from prerlkit.recipe.model import Model


def check_usable(device: torch.device) -> None:
    """Raise UsageError with what to do where Unsloth is not installed, or there is no CUDA device."""
    if importlib.util.find_spec("unsloth") is None:
        raise UsageError(
            "model.backend is unsloth, but Unsloth is not installed here.", f"Install it: {pip_install('unsloth')}"
        )
    if device.type != "cuda":
        raise UsageError(
            "model.backend is unsloth, which loads models on CUDA only, and this run is on the CPU.",
            "Use model.backend: transformers here.",
        )


def arguments(path: str, model: Model, *, length: int, checkpointing: bool) -> dict[str, Any]:
    """Return the arguments of `FastLanguageModel.from_pretrained`. A test binds them to the package's signature."""
    return {
        "model_name": path,
        "max_seq_length": length,
        "dtype": getattr(torch, model.dtype),
        "load_in_4bit": model.quantization == "nf4",
        "use_exact_model_name": True,  # never another upload of the "same" model in its place
        "fix_tokenizer": False,  # prompts are tokenized by ours
        "resize_model_vocab": None,
        "use_gradient_checkpointing": "unsloth" if checkpointing else False,
        "trust_remote_code": model.trust_remote_code,
        "fast_inference": False,  # rollouts are the engine's
        "device_map": {"": 0},
    }


def load(path: str, model: Model, device: torch.device, *, length: int, checkpointing: bool) -> Any:
    """Return the causal LM in `path`, through Unsloth."""
    check_usable(device)
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_root() / "unsloth"))  # else into the working directory
    from unsloth import FastLanguageModel

    base, _ = FastLanguageModel.from_pretrained(**arguments(path, model, length=length, checkpointing=checkpointing))
    return base
