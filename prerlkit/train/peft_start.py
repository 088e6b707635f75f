"""A first stage that is an adapter of plain PEFT (`from: FOLDER`): read whole and exactly, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prerlkit.errors import UsageError
from prerlkit.policy.save import WEIGHTS
from prerlkit.recipe.model import Adapter

CONFIG = "adapter_config.json"

_WITHOUT_EFFECT = frozenset(
    [
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "task_type",
        "peft_version",
        "lora_dropout",
        "runtime_config",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
    ]
)
"""Keys that don't change what the factors compute. The names of the tensors say which layers have an adapter."""
_IN_THE_RECIPE = {"r": "rank", "lora_alpha": "alpha", "use_rslora": "rslora"}
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")


def is_peft_folder(folder: Path) -> bool:
    """Whether `folder` holds an adapter in PEFT's layout."""
    return (folder / CONFIG).is_file()


def read_peft_folder(folder: Path, settings: Adapter, key: str) -> tuple[dict[str, Tensor], str]:
    """Return the factors of the adapter in `folder`, under PEFT's file names, and the recorded name of its base.

    Args:
        settings: of the stage that takes it.
        key: the recipe's key, for messages.

    Raises:
        UsageError: a file can't be read, its numbers are not finite, or the stage can't hold this adapter exactly.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{key}: {folder / CONFIG} can't be read: {error}", "Restore the file from a copy.") from error
    if not isinstance(config, dict):
        raise UsageError(f"{key}: {folder / CONFIG} is not an object.", "Restore the file from a copy.")
    _check_config(config, settings, folder, key)
    file = folder / WEIGHTS
    if not file.is_file():
        raise UsageError(f"{key}: there is no {file}.", "Save the adapter with PEFT's save_pretrained (safetensors).")
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{key}: {file} can't be read: {error}", "Restore the file from a copy.") from error
    _check_tensors(tensors, settings, file, key)
    return tensors, str(config.get("base_model_name_or_path") or "")


def _check_config(config: dict[str, Any], settings: Adapter, folder: Path, key: str) -> None:
    if config.get("peft_type") != "LORA":
        raise UsageError(f"{key}: {folder} has peft_type {config.get('peft_type')!r}.", "Give a LoRA adapter.")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower().startswith(_CHANGES_THE_BASE):
        raise UsageError(
            f"{key}: {folder} has init_lora_weights {init!r}, which changes the base's weights.",
            "Convert it to plain LoRA with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...).",
        )
    plain = LoraConfig().to_dict()
    for name, value in config.items():
        if name in _WITHOUT_EFFECT or name in _IN_THE_RECIPE or name in ("peft_type", "init_lora_weights"):
            continue
        if value and value != plain.get(name):
            raise UsageError(
                f"{key}: {folder} has {name} {value!r}, which a stage can't hold.",
                "Give a plain LoRA adapter, or merge this one into its base and use the merged model as `model.id`.",
            )
    own = settings.model_dump()
    pairs = [(config.get(theirs, plain[theirs]), ours) for theirs, ours in _IN_THE_RECIPE.items()]
    if different := [f"{ours} {value!r} there, {own[ours]!r} here" for value, ours in pairs if value != own[ours]]:
        raise UsageError(
            f"{key}: the adapter in {folder} has other settings: {'; '.join(different)}.",
            "Set the stage's `adapter` as it is there.",
        )
    if settings.dora or settings.init != "default":
        raise UsageError(
            f"{key}: {folder} is plain LoRA; the stage's adapter has dora {settings.dora}, init {settings.init}.",
            "Leave `dora` and `init` out of the stage's `adapter`.",
        )


def _check_tensors(tensors: dict[str, Tensor], settings: Adapter, file: Path, key: str) -> None:
    if not tensors:
        raise UsageError(f"{key}: {file} has no tensors.", "Give an adapter that was trained.")
    dtype = getattr(torch, settings.dtype)
    for name, tensor in tensors.items():
        if not name.endswith((".lora_A.weight", ".lora_B.weight")):
            raise UsageError(f"{key}: {file} has the tensor {name}, which is no LoRA factor.", "Give a plain LoRA.")
        if not torch.isfinite(tensor).all():
            raise UsageError(f"{key}: {name} in {file} is not finite.", "Give an earlier checkpoint of the adapter.")
        if not torch.equal(tensor.to(dtype).to(tensor.dtype), tensor):
            raise UsageError(
                f"{key}: {name} in {file} is {tensor.dtype}, which adapter.dtype {settings.dtype} would round.",
                "Set adapter.dtype to float32.",
            )
        rank = tensor.shape[0 if ".lora_A." in name else -1]
        if tensor.ndim != 2 or rank != settings.rank:
            raise UsageError(
                f"{key}: {name} in {file} has shape {tuple(tensor.shape)}, which is not of rank {settings.rank}.",
                "Restore the file from a copy.",
            )
