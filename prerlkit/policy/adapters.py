"""The stack of adapters on the base: fresh, stack, merge, continue. Only this file decides which adapter is active.

A double-counted adapter (merged *and* applied) is the commonest silent bug of this field (ms-swift#8233). An
adapter is in exactly one state: trainable, frozen on top of the weights, or merged into them and gone from the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from prerlkit.policy.layers import Layers, Targets, find_layers, leaf
from prerlkit.policy.lora import compute_in_base_dtype, lora_config, merge_layer
from prerlkit.recipe.model import Adapter

Status = Literal["trainable", "frozen", "merged"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One adapter of the policy, bottom first.

    Attributes:
        name: of the stage that trained it.
        key: its name inside PEFT, where dots are not allowed.
        settings: None for an adapter of another tool (`AdapterStack.adopt`): PEFT holds its configuration.
        targets: PEFT's `target_modules`; empty where `settings` is None.
        weights: a merged adapter's own factors, kept so that the policy can still be written as one adapter.
        start: the factors that its stage began with, where that stage continues the adapter of another.
        good: its last good factors, on the CPU, where its stage has a guard.
    """

    name: str
    key: str
    settings: Adapter | None
    status: Status
    targets: tuple[str, ...] = ()
    weights: Mapping[str, Tensor] | None = None
    start: Mapping[str, Tensor] | None = None
    good: Mapping[str, Tensor] | None = None


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256 of an adapter's weights (on the CPU) and their names: equal only for equal bits."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(key.encode() + tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class AdapterStack:
    """The adapters of a policy on one base model, through PEFT.

    Attributes:
        base: the causal LM itself; PEFT puts its layers into it in place, so calling it applies the active adapters.
        layers: bottom first.
        found: the linear layers of the bare base.
    """

    def __init__(self, base: Any, found: Layers | None = None) -> None:
        self.base = base
        self.layers: tuple[Layer, ...] = ()
        self._peft: PeftModel | None = None
        self.found = found or find_layers(base)  # before PEFT wraps them and changes their names
        self._targets = Targets(self.found, tuple(name for name, _ in base.named_modules()))

    @property
    def peft(self) -> PeftModel:
        if self._peft is None:
            raise RuntimeError("no adapter yet")
        return self._peft

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the one trainable adapter."""
        return [p for p in self.base.parameters() if p.requires_grad]

    @property
    def linear_names(self) -> tuple[str, ...]:
        """Last names of the layers that an adapter can sit on (`q_proj`), sorted."""
        return self.found.leaves

    def fresh(self, name: str, settings: Adapter, seed: int, targets: Sequence[str] | None = None) -> None:
        """Put a new trainable adapter on top, the identity at its start; everything below is frozen.

        Args:
            targets: PEFT's `target_modules`, in place of what `settings` name.

        Raises:
            UsageError: a target that matches no linear layer of this model.
        """
        key = f"stage{len(self.layers)}"
        init = True if settings.init == "default" else settings.init
        targets = list(targets or self._targets.of(settings))
        config = lora_config(settings, targets, init_lora_weights=init)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self._peft is None:
                self._peft = PeftModel(self.base, config, adapter_name=key, autocast_adapter_dtype=True)
            else:
                self._peft.add_adapter(key, config, autocast_adapter_dtype=True)
        dtype = getattr(torch, settings.dtype)
        for parameter_name, parameter in self.base.named_parameters():
            if f".{key}." in parameter_name:
                parameter.data = parameter.data.to(dtype)
        if not settings.dora:  # its norms want the full precision
            compute_in_base_dtype(self.base, key)
        frozen = tuple(replace(x, status="frozen", good=None) if x.status == "trainable" else x for x in self.layers)
        self.layers = (*frozen, Layer(name, key, settings, "trainable", tuple(targets)))
        self._activate()

    def restore(self, name: str, settings: Adapter, tensors: Mapping[str, Tensor]) -> None:
        """Put a saved adapter on top, on the layers that it was trained on.

        Raises:
            ValueError, RuntimeError: its tensors don't fit this model exactly.
        """
        modules = dict.fromkeys(key.removeprefix(ROOT).partition(".lora_")[0] for key in tensors)
        if unknown := next((module for module in modules if module not in self._targets.modules), None):
            raise ValueError(f"the model has no layer {unknown}")
        self.fresh(name, settings, seed=0, targets=self._targets.shortest(list(modules)))
        self.load_state(name, tensors)

    def adopt(self, folder: Path) -> None:
        """Put the adapter in a PEFT folder, of any kind, on the bare base; it is frozen.

        Raises:
            ValueError: a tensor in the folder has no counterpart in the model. PEFT itself would only warn.
        """
        if self.layers:
            raise RuntimeError("only the bare base takes an adapter of another tool")
        self._peft = PeftModel.from_pretrained(self.base, str(folder))
        (key,) = self._peft.peft_config
        weights = folder / "adapter_model.safetensors"
        if weights.is_file():
            given, taken = set(load_file(weights)), set(get_peft_model_state_dict(self._peft, adapter_name=key))
            if given != taken:
                raise ValueError(f"{len(given ^ taken)} tensors have no counterpart, such as {min(given ^ taken)}")
        config = self._peft.peft_config[key]
        if config.peft_type == "LORA" and not config.use_dora:
            compute_in_base_dtype(self.base, key)
        self.layers = (Layer("adapter", key, None, "frozen"),)

    def check(self, settings: Adapter) -> None:
        """Raise UsageError for a target that matches no layer that takes an adapter, before anything is changed."""
        self._targets.of(settings)

    def adapted(self, settings: Adapter) -> list[str]:
        """Return whole names of the layers that an adapter of these settings sits on."""
        return self._targets.layers(settings)

    def describe(self, settings: Adapter) -> Iterator[str]:
        """Yield lines for a person: the layers that an adapter of these settings sits on, and those that it can't."""
        names = self.adapted(settings)
        yield f"adapters on {len(names)} linear layers: {', '.join(sorted({leaf(name) for name in names}))}"
        yield from self.found.left_out_lines()

    def merge_top(self) -> float:
        """Merge the trainable adapter into the base weights and remove it from the model.

        The sum is made in float32 and rounded once. A 4-bit or 8-bit base is dequantized, added to and quantized again.

        Returns:
            The largest relative rounding error over layers, ‖W' − (W + Δ)‖ / ‖Δ‖: how much of the adapter was lost.
        """
        top = self.layers[-1]
        kept = self.state(top.name)
        worst = 0.0
        for module in self.base.modules():
            if isinstance(module, LoraLayer) and top.key in module.lora_A:
                worst = max(worst, merge_layer(module, top.key))
        self.peft.base_model.delete_adapter(top.key)
        self.layers = (*self.layers[:-1], replace(top, status="merged", weights=kept))
        self._activate()
        return worst

    def continue_top(self, name: str) -> None:
        """Let the trainable adapter train on under the name of the next stage."""
        top = self.layers[-1]
        self.layers = (*self.layers[:-1], replace(top, name=name, start=self.state(top.name), good=None))

    def load_start(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Set the factors that stage `name` began with, for a run that resumes within it."""
        self.layers = tuple(replace(x, start=dict(tensors)) if x.name == name else x for x in self.layers)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Make the model the reference policy within the block: everything below the trainable adapter."""
        with self._only([x.key for x in self.layers if x.status == "frozen"]):
            yield

    @contextmanager
    def before_stage(self) -> Iterator[None]:
        """Make the model the policy before the current stage within the block.

        A fresh adapter began as the identity; one that continues another stage's began with that stage's weights.
        """
        top = self.layers[-1]
        if top.start is None:
            with self.reference():
                yield
            return
        own = self.state(top.name)
        self.load_state(top.name, top.start)
        try:
            yield
        finally:
            self.load_state(top.name, own)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Remove all adapters within the block: the model is the base, with merged adapters in it."""
        with self._only([]):
            yield

    @contextmanager
    def _only(self, keys: list[str]) -> Iterator[None]:
        self._set(keys, trainable=None)
        try:
            yield
        finally:
            self._activate()

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the factors of the adapter of stage `name`, on the CPU, under PEFT's file names."""
        layer = self._layer(name)
        if layer.weights is not None:
            return dict(layer.weights)
        tensors = get_peft_model_state_dict(self.peft, adapter_name=layer.key)
        return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}

    def load_state(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Put saved factors into the adapter of stage `name`. Raises ValueError when they don't fit it exactly."""
        layer = self._layer(name)
        if set(tensors) != set(self.state(name)):
            raise ValueError(f"these are not the weights of adapter {name}: their names differ")
        set_peft_model_state_dict(self.peft, dict(tensors), adapter_name=layer.key)

    @property
    def has_good(self) -> bool:
        """Whether the trainable adapter has factors that `restore_good` can restore."""
        return self.layers[-1].good is not None

    def keep_good(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep the last good factors of the adapter of stage `name`."""
        self.layers = tuple(replace(x, good=dict(tensors)) if x.name == name else x for x in self.layers)

    def restore_good(self) -> None:
        """Set the trainable adapter to its last good factors."""
        top = self.layers[-1]
        if top.good is None:
            raise RuntimeError(f"no good weights of adapter {top.name} were kept")
        self.load_state(top.name, top.good)

    def digest(self, name: str) -> str:
        """Return SHA-256 of the weights of stage `name`'s adapter: equal only for equal bits."""
        return weights_digest(self.state(name))

    def config(self, name: str) -> LoraConfig:
        """Return PEFT's configuration of the adapter of stage `name`; of another kind than LoRA only after `adopt`."""
        layer = self._layer(name)
        settings = layer.settings
        if settings is None:
            return copy(self.peft.peft_config[layer.key])
        return lora_config(settings, list(layer.targets), inference_mode=True)

    def _layer(self, name: str) -> Layer:
        return next(x for x in self.layers if x.name == name)

    def _activate(self) -> None:
        active = [x for x in self.layers if x.status != "merged"]
        self._set([x.key for x in active], next((x.key for x in active if x.status == "trainable"), None))

    def _set(self, keys: list[str], trainable: str | None) -> None:
        self.peft.base_model.set_adapter(keys, inference_mode=True)
        if trainable is not None:
            for name, parameter in self.base.named_parameters():
                if f".{trainable}." in name:
                    parameter.requires_grad_(True)


ROOT = "base_model.model."
