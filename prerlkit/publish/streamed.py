"""A causal LM that holds one module's weights at a time, so that logits of a 4B model in float32 need no 16 GB.

The model is built without weights; each module gets its own from a function when it is called and gives them back when
it is done. PEFT's adapters sit on it as they do in training, so that the live policy is computed by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from prerlkit.errors import PrerlkitError
from prerlkit.policy.adapters import AdapterStack
from prerlkit.publish.weights import Weights
from prerlkit.runs.trained import Part

Read = Callable[[str], Tensor]

EYE_ROWS = 4096
"""Of the identity matrix that a layer sees at once."""


@dataclass(frozen=True)
class StreamedModel:
    """The model in a folder, with or without adapters on it.

    Attributes:
        folder: its config and weights.
        parts: the adapters, bottom first.
        lora_scale: multiplies them; 1 is what was trained.
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

    def empty(self) -> Any:
        """Return the model of the folder's config without weights and adapters, buffers computed, dropouts inactive.

        A parameter is one zero seen as the whole shape: of no size, and on the CPU, so that adapters are put there too.
        """
        from accelerate import init_empty_weights
        from transformers import AutoConfig, AutoModelForCausalLM

        trust = self.trust_remote_code
        config = AutoConfig.from_pretrained(str(self.folder), trust_remote_code=trust)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust)
        model.tie_weights()
        empty: dict[int, nn.Parameter] = {}
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    placeholder = nn.Parameter(torch.zeros(()).expand(parameter.shape), requires_grad=False)
                    module._parameters[name] = empty.setdefault(id(parameter), placeholder)
        return model.eval()

    def file_names(self, model: Any) -> dict[str, str]:
        """Return which tensor of the files each parameter of a model made by `empty` is.

        It has the parameter's own name, a tied one's, or the name without the model's prefix.

        Raises:
            PrerlkitError: a parameter that no tensor answers to (files of another layout than the model's own modules).
        """
        names: dict[int, list[str]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        prefix, found = model.base_model_prefix + ".", {}
        for tied in names.values():
            stored = [form for name in tied for form in (name, name.removeprefix(prefix), prefix + name)]
            match = next((form for form in stored if form in self.weights), None)
            if match is None:
                raise PrerlkitError(
                    f"The model's files hold no tensor named {tied[0]}: their layout is not that of transformers' "
                    "modules.",
                    "Load the base with transformers, save it with `save_pretrained`, and give that folder as --base.",
                )
            found.update(dict.fromkeys(tied, match))
        return found

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
            read: gives the weights instead of the folder, by their names there.
            load: puts other adapters on the model, given to it before its weights are.
        """
        model = self.empty()
        names = self.file_names(model)
        if load:
            load(model)
            model.eval()
        if self.parts:
            stack_on(model, self.parts, self.lora_scale)
        stream(model, names, read or self.weights)
        return logits(model, *tokens)

    def live_weights(self) -> Read:
        """Return what reads each weight as the live layer acts, adapters included, in float32.

        The layers themselves are asked, by letting them see the identity matrix. Nothing about PEFT's arithmetic
        (scales, transposed layers, DoRA's norms, sums of several adapters) has to be known here.
        """
        model = self.empty()
        names = self.file_names(model)
        stack_on(model, self.parts, self.lora_scale)
        stream(model, names, self.weights)
        layers: dict[str, Any] = {
            names[f"{path}.weight"]: module for path, module in model.named_modules() if isinstance(module, LoraLayer)
        }

        @torch.no_grad()
        def reading(name: str) -> Tensor:
            if name not in layers:
                return self.weights(name)
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


def stream(model: Any, names: dict[str, str], read: Read) -> None:
    """Let `model` fetch each module's weights when it is called.

    Args:
        names: of `file_names`, taken before adapters were put on the model.
        read: gives a tensor by its name in the files; it is cast to float32.
    """
    wrapped = {id(m.get_base_layer()) for m in model.modules() if isinstance(m, LoraLayer)}
    for path, module in model.named_modules():
        # DoRA reads its base layer's weight beside calling it, so there the adapter's layer is what holds it.
        holder = module.get_base_layer() if isinstance(module, LoraLayer) else module
        if id(module) in wrapped or ".lora_" in path:
            continue
        own = {key: names[f"{path}.{key}"] for key, value in holder._parameters.items() if value is not None}
        if own:
            _attach(module, holder, own, read)


def _attach(owner: nn.Module, holder: nn.Module, own: dict[str, str], read: Read) -> None:
    empty = {key: holder._parameters[key] for key in own}

    def fetch(module: nn.Module, arguments: Any) -> None:
        for key, name in own.items():
            holder._parameters[key] = nn.Parameter(read(name).float(), requires_grad=False)

    def drop(module: nn.Module, arguments: Any, result: Any) -> None:
        holder._parameters.update(empty)

    owner.register_forward_pre_hook(fetch)
    owner.register_forward_hook(drop)


@torch.no_grad()
def logits(model: Any, tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Float32 logits of the real tokens, padding left out. [N, V]"""
    out_BTV: Tensor = model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
    return out_BTV.float()[mask_BT.bool()]
