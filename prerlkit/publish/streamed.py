"""A causal LM that holds one module's weights at a time, so that logits of a 4B model in float32 need no 16 GB.

The model is built without weights. Each module gets its weights from a function when it is called, and drops them
afterwards. PEFT's adapters are on it as in training, so the same code computes the live policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from prerlkit.errors import PrerlkitError
from prerlkit.policy.adapters import AdapterStack
from prerlkit.policy.layout import Layout, empty_model
from prerlkit.policy.weights import Weights
from prerlkit.runs.trained import Part

Read = Callable[[str], Tensor]

EYE_ROWS = 4096
"""Rows of the identity matrix in one call of a layer."""


@dataclass(frozen=True)
class StreamedModel:
    """The model in a folder, with or without adapters on it.

    Attributes:
        folder: its config and weights.
        parts: the adapters, bottom first.
        lora_scale: multiplies them; 1 is the trained policy.
    """

    folder: Path
    trust_remote_code: bool = False
    parts: Sequence[Part] = ()
    lora_scale: float = 1.0

    @cached_property
    def weights(self) -> Weights:
        """The folder's own weights, by name."""
        return Weights(self.folder)

    def with_adapters(self, parts: Sequence[Part], lora_scale: float = 1.0) -> StreamedModel:
        """Return the same model with these adapters on it and no others."""
        return replace(self, parts=parts, lora_scale=lora_scale)

    @cached_property
    def read(self) -> Layout:
        """Reads the folder's weights by the names of the model's parameters."""
        return Layout(self.empty(), self.weights)

    def empty(self) -> Any:
        """Return the model of the folder's config without weights and adapters (`layout.empty_model`)."""
        return empty_model(str(self.folder), trust_remote_code=self.trust_remote_code)

    def stack(self) -> AdapterStack:
        """Return the adapters on an empty model."""
        return stack_on(self.empty(), self.parts, self.lora_scale)

    @torch.no_grad()
    def logits(
        self, tokens: tuple[Tensor, Tensor], read: Read | None = None, load: Callable[[Any], object] | None = None
    ) -> Tensor:
        """Return float32 logits of the real tokens. [N, V]

        Args:
            tokens: ids and mask, [B, T] each.
            read: gives the weights instead of the folder, by the names of the model's parameters.
            load: puts other adapters on the model before its weights are read.
        """
        model, modules = self._filled()
        if load:
            load(model)
            model.eval()
        if self.parts:
            stack_on(model, self.parts, self.lora_scale)
        stream(model, modules, self.read.names, read or self.read)
        out = logits(model, *tokens)
        if not bool(out.isfinite().all()):
            raise PrerlkitError(
                f"The logits of the model in {self.folder} are not numbers (NaN or infinite).",
                "Its weights hold NaN, or one of its modules uses weights of another in a way that is not known here.",
            )
        return out

    def _filled(self) -> tuple[Any, dict[str, nn.Module]]:
        """Return an empty model with the buffers that are stored in the files, and its modules by name."""
        model = self.empty()
        modules = dict(model.named_modules())
        for name in self.read.buffers:
            place, _, key = name.rpartition(".")
            held = modules[place]._buffers[key]
            assert held is not None
            modules[place]._buffers[key] = self.read(name).to(held.dtype)
        return model, modules

    def live_weights(self) -> Read:
        """Return a reader of each weight as the live layer applies it, adapters included, in float32.

        It calls the layers with the identity matrix. So it needs no knowledge of PEFT's arithmetic (scales, transposed
        layers, DoRA's norms, sums of several adapters).
        """
        model, modules = self._filled()
        stack_on(model, self.parts, self.lora_scale)
        stream(model, modules, self.read.names, self.read, whole_layers=False)
        names = self.read.names
        layers: dict[str, Any] = {
            names[f"{path}.weight"]: module for path, module in model.named_modules() if isinstance(module, LoraLayer)
        }

        @torch.no_grad()
        def reading(name: str) -> Tensor:
            if name not in layers:
                return self.read(name)
            layer = layers[name]
            bias_1O = layer(torch.zeros(1, layer.in_features))
            acts_IO = torch.cat([layer(rows) - bias_1O for rows in torch.eye(layer.in_features).split(EYE_ROWS)])
            return acts_IO if layer.fan_in_fan_out else acts_IO.T.contiguous()  # Conv1D holds its weight transposed

        return reading


def stack_on(model: Any, parts: Sequence[Part], lora_scale: float = 1.0) -> AdapterStack:
    """Put the parts' adapters on an empty model, through the same stack that trained them."""
    stack = AdapterStack(model)
    for part in parts:
        scaled = {k: v * lora_scale if ".lora_B." in k else v for k, v in part.tensors.items()}
        try:
            stack.restore(part.name, part.settings, scaled)
        except (ValueError, RuntimeError) as error:
            raise PrerlkitError(
                f'The adapter of stage "{part.name}" does not fit this base: {str(error).splitlines()[0]}',
                "Give the base that it was trained on.",
            ) from error
    model.eval()
    return stack


def stream(
    model: Any, modules: Mapping[str, nn.Module], names: Mapping[str, str], read: Read, *, whole_layers: bool = True
) -> None:
    """Let `model` fetch weights when they are needed: a decoder layer's together, every other module's separately.

    Args:
        modules: the model's modules by name, taken before adapters were put on it.
        names: parameter → its name for `read` (`Layout.names`).
        read: gives a tensor; it is cast to float32.
        whole_layers: a layer's modules may read each other's weights (a convolution by a kernel) without a call. False:
            each module separately, for modules that are called alone.
    """
    units = _layers(modules) if whole_layers else {}
    held: dict[nn.Module, list[tuple[nn.Module, str, str]]] = {}
    wrappers = {m.get_base_layer(): m for m in model.modules() if isinstance(m, LoraLayer)}
    for path, module in modules.items():
        unit = next((units[place] for place in _above(path) if place in units), None)
        # DoRA reads its base layer's weight in addition to calling it, so there the adapter's layer holds it.
        owner = unit if unit is not None else wrappers.get(module, module)
        for key, value in module._parameters.items():
            if value is not None:
                held.setdefault(owner, []).append((module, key, names[f"{path}.{key}"]))
    for owner, own in held.items():
        _attach(owner, own, read)


def _layers(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the elements of lists of modules, by name."""
    return {
        name: module
        for name, module in modules.items()
        if isinstance(modules.get(name.rpartition(".")[0]), nn.ModuleList)
    }


def _above(path: str) -> list[str]:
    """Return a module's name and those of the modules that it is in, the outermost first."""
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def _attach(owner: nn.Module, own: list[tuple[nn.Module, str, str]], read: Read) -> None:
    # A weight that is used without having been fetched is NaN, so that no result computed with it looks valid.
    empty = []
    for module, key, _ in own:
        held = module._parameters[key]
        assert held is not None
        placeholder = nn.Parameter(torch.full((), torch.nan).expand(held.shape), requires_grad=False)
        module._parameters[key] = placeholder
        empty.append(placeholder)

    def fetch(module: nn.Module, arguments: Any) -> None:
        for holder, key, name in own:
            holder._parameters[key] = nn.Parameter(read(name).float(), requires_grad=False)

    def drop(module: nn.Module, arguments: Any, result: Any) -> None:
        for (holder, key, _), placeholder in zip(own, empty, strict=True):
            holder._parameters[key] = placeholder

    owner.register_forward_pre_hook(fetch)
    owner.register_forward_hook(drop)


@torch.no_grad()
def logits(model: Any, tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return float32 logits of the real tokens, without padding. [N, V]"""
    out_BTV: Tensor = model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
    return out_BTV.float()[mask_BT.bool()]
