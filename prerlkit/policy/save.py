"""Adapters as files: each stage's own, and the one adapter that equals all of them together.

A sum of low-rank products is one low-rank product: with the A-factors stacked, the scaled B-factors side by side and
r = r_1 + r_2 + …, the concatenated adapter *is* the stack. PEFT's own deltas are the check before it is written.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from prerlkit.errors import PrerlkitError
from prerlkit.files import new_folder
from prerlkit.policy.adapters import ROOT, AdapterStack

WEIGHTS = "adapter_model.safetensors"
IDENTITY_TOLERANCE = 1e-4
"""Largest relative difference, in float32, between the concatenated product and the sum of PEFT's own deltas."""

_A, _B = ".lora_A.weight", ".lora_B.weight"


def save_stage(adapters: AdapterStack, name: str, folder: Path, base_id: str) -> None:
    """Write the adapter of stage `name` as a PEFT folder."""
    _write(adapters.config(name), adapters.state(name), folder, base_id)


def save_policy(adapters: AdapterStack, folder: Path, base_id: str) -> None:
    """Write all adapters as one adapter, which PeftModel.from_pretrained loads onto the base.

    Raises:
        PrerlkitError: the concatenated adapter is not the stack; nothing is written.
    """
    config, tensors = _as_one(adapters)
    if not config.use_dora:
        _check_identity(adapters, config, tensors)
    _write(config, tensors, folder, base_id)


def save_for_engine(adapters: AdapterStack, folder: Path, names: Mapping[str, str] | None = None) -> None:
    """Write all adapters as one PEFT folder for an engine that serves the base.

    Unlike `save_policy` it compares nothing: the canary measures what arrives in the engine (`rollout/canary.py`).

    Args:
        names: module → its name in the files that the engine serves, where that is another (`layout.stored_modules`).
    """
    config, tensors = renamed(*_as_one(adapters), names)
    folder.mkdir(parents=True)
    config.save_pretrained(str(folder))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _as_one(adapters: AdapterStack) -> tuple[LoraConfig, dict[str, Tensor]]:
    names = [layer.name for layer in adapters.layers]
    if len(names) == 1:
        return adapters.config(names[0]), adapters.state(names[0])
    return concatenate([adapters.config(n) for n in names], [adapters.state(n) for n in names])


def concatenate(
    configs: Sequence[LoraConfig], states: Sequence[dict[str, Tensor]]
) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Return one LoRA equal to the sum of several: rank Σr, scale 1, zeros where an adapter lacks a module. float32."""
    rank = sum(c.r for c in configs)
    modules = sorted({k.removesuffix(_A) for state in states for k in state if k.endswith(_A)})
    merged: dict[str, Tensor] = {}
    for module in modules:
        shape = next((s[module + _A].shape[1], s[module + _B].shape[0]) for s in states if module + _A in s)
        downs, ups = [], []
        for config, state in zip(configs, states, strict=True):
            if module + _A in state:
                downs.append(state[module + _A].float())
                ups.append(state[module + _B].float() * scale_of(config))
            else:
                downs.append(torch.zeros(config.r, shape[0]))
                ups.append(torch.zeros(shape[1], config.r))
        merged[module + _A] = torch.cat(downs, dim=0).contiguous()  # [Σr, in]
        merged[module + _B] = torch.cat(ups, dim=1).contiguous()  # [out, Σr]
    targets = sorted({t for c in configs for t in c.target_modules})
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=targets, bias="none", task_type="CAUSAL_LM", inference_mode=True
    )
    return config, merged


def renamed(
    config: LoraConfig, tensors: dict[str, Tensor], names: Mapping[str, str] | None
) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Return an adapter on the same modules by other names; `names`: module → its new name."""
    if not names:
        return config, tensors
    config = copy.copy(config)
    config.target_modules = [names.get(target, target) for target in config.target_modules]
    made = {}
    for key, tensor in tensors.items():
        module, factor = key.removeprefix(ROOT).split(".lora_")
        made[f"{ROOT}{names.get(module, module)}.lora_{factor}"] = tensor
    return config, made


def scale_of(config: LoraConfig) -> float:
    """Return α/r, or α/√r with rsLoRA."""
    return float(config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r))


@torch.no_grad()
def _check_identity(adapters: AdapterStack, config: LoraConfig, tensors: dict[str, Tensor]) -> None:
    merged = [(adapters.config(x.name), x.weights) for x in adapters.layers if x.weights is not None]
    keys = [x.key for x in adapters.layers if x.weights is None]
    for name, module in adapters.peft.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        deltas = [module.get_delta_weight(k).float().cpu() for k in keys if k in module.lora_A]
        deltas += [scale_of(c) * w[name + _B].float() @ w[name + _A].float() for c, w in merged if name + _A in w]
        if not deltas:
            continue
        live = torch.stack(deltas).sum(0)
        ours = scale_of(config) * tensors[name + _B].float() @ tensors[name + _A].float()
        live = live.T if module.fan_in_fan_out else live  # Conv1D holds its weight transposed
        error = (ours - live).norm().item()
        if not error <= IDENTITY_TOLERANCE * max(live.norm().item(), 1e-6):  # also when it is not a number
            raise PrerlkitError(
                f"The concatenated adapter differs from the stack at {name} by {error:.3g}; nothing was written.",
                "This is a bug: the adapters of each stage are safe in adapters/. Please report it with the recipe.",
            )


def _write(config: LoraConfig, tensors: dict[str, Tensor], folder: Path, base_id: str) -> None:
    config = copy.copy(config)
    config.base_model_name_or_path = base_id
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)  # a set of texts has another order in each process
    with new_folder(folder) as temporary:
        config.save_pretrained(str(temporary))
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
