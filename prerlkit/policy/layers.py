"""Which layers of a model take an adapter, and why others don't: found on the model itself, by no list of names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn

from prerlkit.errors import UsageError
from prerlkit.policy.frozen_linear import FrozenLinear
from prerlkit.recipe.model import Adapter
from prerlkit.suggest import nearest

_QUANTIZED = ("Linear4bit", "Linear8bitLt")
_LEAST_SHARE = 0.01
"""Share of the parameters from which weights without an adapter are mentioned."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The linear layers of a causal LM.

    Attributes:
        linear: whole names of those that take an adapter, in the model's order.
        left_out: reason → whole names of the other linear layers (the output head is none of them), and of weights
            that are no linear layers, such as fused experts.
        shares: of the left-out names, by reason: their part of the model's parameters.
    """

    linear: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, float]

    @property
    def leaves(self) -> tuple[str, ...]:
        """Last names of `linear` (`q_proj`), sorted."""
        return tuple(sorted({leaf(name) for name in self.linear}))

    def left_out_lines(self) -> Iterator[str]:
        """Yield a line for a person on each reason for which layers get no adapter."""
        for reason, names in self.left_out.items():
            kinds = ", ".join(sorted({".".join(pattern(name).split(".")[-2:]) for name in names}))
            yield f"without an adapter: {kinds} ({100 * self.shares[reason]:.1f} % of the parameters): {reason}"


def leaf(name: str) -> str:
    """Return the last part of a module's name."""
    return name.rpartition(".")[2]


def pattern(name: str) -> str:
    """Return a module's name with `*` for numbers: layers that differ by their place alone have one pattern."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


def find_layers(base: Any, called: Collection[str] | None = None) -> Layers:
    """Sort the linear layers of a model without adapters.

    Args:
        called: patterns of the modules that a pass over text calls (`called_modules`). None: not measured, and only
            what is outside the language model is left out.
    """
    head, inside = base.get_output_embeddings(), _prefix(base)
    linear: list[str] = []
    left_out: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    refused = {name: _peft_refuses(name, base.config) for name in {leaf(n) for n, m in _linears(base)}}
    for name, module in _linears(base):
        if module is head:
            continue
        reason = refused[leaf(name)] or _unfit(name, module, inside, called)
        if not reason:
            linear.append(name)
            continue
        left_out.setdefault(reason, []).append(name)
        sizes[reason] = sizes.get(reason, 0) + sum(p.numel() for p in module.parameters())
    total = sum(p.numel() for p in base.parameters())
    for name, parameter in _other_weights(base, inside):
        reason = "they are no linear layers, and PEFT adapts such weights only where they are named"
        left_out.setdefault(reason, []).append(name)
        sizes[reason] = sizes.get(reason, 0) + parameter.numel()
    told = {k: tuple(v) for k, v in left_out.items() if sizes[k] >= _LEAST_SHARE * total or k == _OVERRIDDEN}
    return Layers(tuple(linear), told, {reason: sizes[reason] / max(total, 1) for reason in told})


_OUTSIDE = "text never reaches them"
_BYPASSED = "their weights are used without calling them, so that an adapter would have no effect"
_OVERRIDDEN = "they give more than a product"


def _unfit(name: str, module: nn.Module, inside: str, called: Collection[str] | None) -> str:
    """Return why a linear layer takes no adapter; "" where it takes one."""
    from transformers.pytorch_utils import Conv1D

    products = (nn.Linear.forward, FrozenLinear.forward, Conv1D.forward)
    own = type(module).__name__ not in _QUANTIZED and type(module).forward not in products
    if own and not _is_product(module):
        return _OVERRIDDEN
    if called is not None:
        return "" if pattern(name) in called else _BYPASSED if name.startswith(inside) else _OUTSIDE
    return "" if name.startswith(inside) else _OUTSIDE


@torch.no_grad()
def _is_product(module: Any) -> bool:
    """Return whether a layer with its own forward pass computes a linear layer (Falcon's does, a router doesn't)."""
    weight = module.weight
    ones = torch.ones(1, weight.shape[1], dtype=weight.dtype, device=weight.device)
    given, plain = module(ones), nn.functional.linear(ones, weight, module.bias)
    if not isinstance(given, torch.Tensor) or given.shape != plain.shape:
        return False
    return given.is_meta or torch.allclose(given, plain, rtol=0.05, atol=1e-3, equal_nan=True)


def _linears(base: Any) -> Iterator[tuple[str, nn.Module]]:
    from transformers.pytorch_utils import Conv1D

    return ((name, m) for name, m in base.named_modules() if isinstance(m, nn.Linear | Conv1D))


def _other_weights(base: Any, inside: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield matrices, and stacks of them, of modules other than linear layers, embeddings and convolutions."""
    from transformers.pytorch_utils import Conv1D

    plain = (nn.Linear, Conv1D, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for name, module in base.named_modules():
        if isinstance(module, plain) or not name.startswith(inside):
            continue
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.dim() >= 2 and parameter.shape[-1] > 1 and parameter.shape[-2] > 1:
                yield f"{name}.{key}", parameter


def _prefix(base: Any) -> str:
    """Return the prefix of the language model's module names, in a model that also has other parts; else ""."""
    if base.config.get_text_config() is base.config:
        return ""
    decoder = base.get_decoder()
    return next((f"{name}." for name, module in base.named_modules() if module is decoder and name), "")


def _peft_refuses(name: str, config: Any) -> str:
    """Return why PEFT puts no adapter on layers of that name in a model of this config; "" where it does.

    PEFT is asked with a stand-in of one small layer. It knows kinds of models whose kernels bypass some layers, and
    others where it moves an adapter of that name onto fused experts.
    """
    from peft import LoraConfig, inject_adapter_in_model

    alone = nn.ModuleDict({name: nn.Linear(1, 1, bias=False)})
    alone.config = config
    try:
        inject_adapter_in_model(LoraConfig(r=1, target_modules=[name]), alone)
    except ValueError:
        return "PEFT takes no adapters on layers of that name in this kind of model"
    return ""


@torch.no_grad()
def called_modules(base: Any) -> frozenset[str]:
    """Return the patterns of the modules that a pass over text calls, as training makes it.

    It leaves out layers whose weight a kernel takes, and towers for images: their own `forward` isn't called.
    """
    called: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.add(pattern(name)))
        for name, module in base.named_modules()
    ]
    try:
        base.train()
        base(input_ids=torch.arange(1, 5, device=base.device)[None], use_cache=False)
    finally:
        base.eval()
        for hook in hooks:
            hook.remove()
    return frozenset(called)


def use_right_decoder(base: Any) -> None:
    """Let `base.get_decoder()` give the module from token ids to the head's inputs.

    transformers finds it by names. In some models that is another module: the head in ModernBERT's, the whole model in
    Llama 4.
    """
    embeddings = base.get_input_embeddings()
    for found in (base.get_decoder(), base.base_model, *base.children()):
        if isinstance(found, nn.Module) and found is not base and any(m is embeddings for m in found.modules()):
            break
    else:
        found = base
    if found is not base.get_decoder():
        base.get_decoder = MethodType(lambda self, decoder=found: decoder, base)


@dataclass(frozen=True, slots=True)
class Targets:
    """PEFT's `target_modules` for one model.

    Attributes:
        modules: names of all of the model's modules, as they are without adapters.
    """

    found: Layers
    modules: tuple[str, ...]

    def of(self, settings: Adapter) -> list[str]:
        """Return the targets of these settings. Raises UsageError for one that matches no such layer."""
        linear = self.found.linear
        if settings.targets == "all-linear":
            if not linear:
                raise UsageError("adapter.targets is all-linear, but this model has no linear layer for an adapter.")
            return self.shortest(linear)
        chosen: dict[str, None] = {}
        for target in settings.targets:
            matched = [name for name in linear if _matches(name, target)]
            if not matched:
                raise self._no_match(target)
            chosen.update(dict.fromkeys(matched))
        named = list(settings.targets)
        return named if self._exact(named, chosen) else list(chosen)

    def layers(self, settings: Adapter) -> list[str]:
        """Return whole names of the layers that they match."""
        targets = self.of(settings)
        return [name for name in self.found.linear if any(_matches(name, target) for target in targets)]

    def shortest(self, names: Sequence[str]) -> list[str]:
        """Return the last names of these layers, where PEFT matches these and no others by them; else whole names."""
        leaves = sorted({leaf(name) for name in names})
        return leaves if self._exact(leaves, names) else list(names)

    def _exact(self, targets: Sequence[str], names: Collection[str]) -> bool:
        """Whether PEFT matches exactly the modules `names` by `targets`."""
        wanted, short = set(names), set(targets)
        if any(target.isdigit() for target in targets):
            return False  # last names that tell nothing
        plain = all("." not in target for target in targets)
        others = (name for name in self.modules if name not in wanted)
        return not any(leaf(name) in short if plain else any(_matches(name, t) for t in targets) for name in others)

    def _no_match(self, target: str) -> UsageError:
        leaves = self.found.leaves
        for reason, names in self.found.left_out.items():
            if any(_matches(name, target) for name in names):
                return UsageError(
                    f'adapter.targets: "{target}" can\'t be adapted here: {reason}.',
                    f"Layers that can: {', '.join(leaves)}. Or use all-linear.",
                )
        return UsageError(
            f'adapter.targets: "{target}" matches no linear layer of this model{nearest(target, leaves)}',
            f"Linear layers here: {', '.join(leaves)}. Or use all-linear.",
        )


def _matches(name: str, target: str) -> bool:
    """Return whether PEFT matches a module by an element of `target_modules`."""
    return name == target or name.endswith("." + target)
