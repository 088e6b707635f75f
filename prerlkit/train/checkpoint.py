"""Checkpoints: where a run is, its trainable adapter and its optimizer, in safetensors and JSON only.

Randomness needs no state here: every draw is a function of the seed and the position (`prerlkit.seeds`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from prerlkit.files import new_folder, write_json
from prerlkit.policy.adapters import AdapterStack

_TENSOR = "$tensor"
"""Key that stands for a tensor in the JSON part of an optimizer's state."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run is. Sums are over the whole run.

    Attributes:
        stage: index of the current stage.
        stage_step: steps of it that are done.
        step: steps of the run that are done.
        prompts: prompts taken from the stream.
        seconds: wall time spent, resumed parts included.
        generated, trained: tokens.
        skipped: optimizer steps without gradient.
    """

    stage: int = 0
    stage_step: int = 0
    step: int = 0
    prompts: int = 0
    seconds: float = 0.0
    generated: int = 0
    trained: int = 0
    skipped: int = 0

    def next_stage(self) -> Position:
        return replace(self, stage=self.stage + 1, stage_step=0)


def save(folder: Path, position: Position, adapters: AdapterStack, optimizer: torch.optim.Optimizer) -> None:
    """Write a checkpoint in place of the one before, whole or not at all."""
    name = adapters.layers[-1].name
    tensors, layout = _flatten(optimizer.state_dict())
    with new_folder(folder) as temporary:
        save_file(adapters.state(name), temporary / "adapter.safetensors")
        save_file(tensors, temporary / "optimizer.safetensors")
        write_json(temporary / "state.json", {"position": asdict(position), "stage": name, "optimizer": layout})


def read_position(folder: Path) -> Position:
    """The position of the checkpoint in `folder`."""
    return Position(**json.loads((folder / "state.json").read_text(encoding="utf-8"))["position"])


def restore(folder: Path, adapters: AdapterStack, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's adapter and optimizer state into the current stage's."""
    layout = json.loads((folder / "state.json").read_text(encoding="utf-8"))["optimizer"]
    adapters.load_state(adapters.layers[-1].name, load_file(folder / "adapter.safetensors"))
    optimizer.load_state_dict(_unflatten(load_file(folder / "optimizer.safetensors"), layout))


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors by name, and the plain rest as JSON.

    bitsandbytes nests: its 8-bit state is a dict within a parameter's. Where a tensor was, the rest holds its name.
    """
    tensors: dict[str, Tensor] = {}

    def split(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().clone().contiguous()
            return {_TENSOR: name}
        if isinstance(value, dict):
            return {str(key): split(item, f"{name}.{key}") for key, item in value.items()}
        return value

    plain = {str(index): split(values, str(index)) for index, values in state["state"].items()}
    return tensors, {"state": plain, "param_groups": state["param_groups"]}


def _unflatten(tensors: dict[str, Tensor], layout: dict[str, Any]) -> dict[str, Any]:
    def join(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return tensors[value[_TENSOR]] if _TENSOR in value else {key: join(item) for key, item in value.items()}

    state = {int(index): join(values) for index, values in layout["state"].items()}
    return {"state": state, "param_groups": layout["param_groups"]}
