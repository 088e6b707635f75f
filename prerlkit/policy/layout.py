"""How a model's parameters are stored in its files, and back, one at a time: by transformers' own conversions.

transformers 5 renames and converts weights while it loads: the experts of a layer become one tensor, a text model is
taken out of one of text and vision. Publishing writes the layout that was read, so each conversion is also reverted.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.weights import Weights


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors of the files that together are one parameter of the model, or several.

    Attributes:
        target: the name that transformers gives them first.
        sources: their names in the files, each with the pattern that it matched.
        converter: of transformers; None where a tensor is a parameter as it is.
    """

    target: str
    sources: tuple[tuple[str, str], ...]
    converter: Any = None

    @property
    def files(self) -> tuple[str, ...]:
        """Names in the files."""
        return tuple(name for name, _ in self.sources)


def empty_model(folder: str, *, trust_remote_code: bool = False) -> Any:
    """Return the causal LM of the folder's config without weights, buffers computed, dropouts inactive.

    A parameter is one zero expanded to the whole shape: it needs no memory and is on the CPU, so adapters are put there
    too.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig

    from prerlkit.policy.causal import causal_class

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with init_empty_weights(include_buffers=False):
        model = causal_class(config).from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
    model.tie_weights()
    empty: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                placeholder = nn.Parameter(torch.zeros(()).expand(parameter.shape), requires_grad=False)
                module._parameters[name] = empty.setdefault(id(parameter), placeholder)
    return model.eval()


class Layout:
    """Reads parameters of `model` from `weights`, and gives changed ones back as tensors of the files.

    Args:
        model: without weights (`empty_model`), without adapters.

    Raises:
        PrerlkitError: a parameter that no tensor of the files becomes.
    """

    def __init__(self, model: Any, weights: Weights) -> None:
        self._model = model
        self._weights = weights
        self._conversions = _conversions(model)
        self._state = model.state_dict()
        self._of_target: dict[str, TensorGroup] = {}
        for group in self._groups():
            for target in self._targets(group):
                self._of_target[target] = group
        self.names = _stored_names(model, self._of_target)
        self._converted: tuple[TensorGroup, dict[str, Tensor]] | None = None
        """The group that was read last: its other parameters are asked for next."""

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """Names of buffers that are stored in the files."""
        return tuple(name for name, _ in self._model.named_buffers() if name in self._of_target)

    def group(self, name: str) -> TensorGroup:
        """Return the group of a parameter, by a name of `names`' values."""
        return self._of_target[name]

    def __call__(self, name: str) -> Tensor:
        """Read a parameter, or a buffer that is stored."""
        group = self._of_target[name]
        if group.converter is None:
            return self._weights(group.files[0])
        if self._converted is None or self._converted[0] is not group:
            self._converted = group, self._convert(group, {name: self._weights(name) for name in group.files})
        return self._converted[1][name]

    def revert(self, group: TensorGroup, changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of the files of `group`, from all of its parameters.

        Raises:
            PrerlkitError: transformers gives other tensors than those that it read.
        """
        if group.converter is None:
            return {group.files[0]: changed[group.target]}
        from transformers.core_model_loading import revert_weight_conversion

        stand_in = copy.copy(self._model)
        stand_in._weight_conversions = self._conversions
        found = revert_weight_conversion(stand_in, dict(changed))
        prefix = f"{self._model.base_model_prefix}."
        forms = {form: t for name, t in found.items() for form in (prefix + name, name.removeprefix(prefix), name)}
        if missing := [name for name in group.files if name not in forms]:
            raise PrerlkitError(f"transformers can't revert its conversion of {missing[0]}.")
        return {name: forms[name] for name in group.files}

    def targets(self, group: TensorGroup) -> tuple[str, ...]:
        """Return the parameters that `group` becomes."""
        return tuple(name for name, found in self._of_target.items() if found is group)

    def check_reversible(self, group: TensorGroup) -> None:
        """Raise PrerlkitError unless reading `group` and reverting it gives the files' own tensors."""
        if group.converter is None:
            return
        again = self.revert(group, {name: self(name) for name in self.targets(group)})
        if wrong := next((name for name in group.files if not torch.equal(again[name], self._weights(name))), None):
            raise PrerlkitError(f"transformers' conversion of {wrong}, reverted, gives another tensor.")

    def stored_modules(self, modules: Iterable[str]) -> dict[str, str]:
        """Return the names by which the files hold these modules, of those that have another one there.

        vLLM maps names of files to its own layers, and an adapter's names in the same way. A name that lacks the base
        model's prefix alone is the same one (GPT-2). A module whose weight is a part of a tensor of the files keeps its
        name.
        """
        prefix, found = f"{self._model.base_model_prefix}.", {}
        for module in modules:
            group = self._of_target[self.names[f"{module}.weight"]]
            name = group.files[0].removesuffix(".weight")
            if group.converter is None and name.removeprefix(prefix) != module.removeprefix(prefix):
                found[module] = name
        return found

    def _groups(self) -> Iterable[TensorGroup]:
        from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

        renamings = [one for one in self._conversions if isinstance(one, WeightRenaming)]
        converters = [one for one in self._conversions if isinstance(one, WeightConverter)]
        by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
        prefix = self._model.base_model_prefix
        found: dict[str, list[tuple[str, str]]] = {}
        for name in sorted(self._weights.names, key=dot_natural_key):
            target, pattern = rename_source_key(name, renamings, converters, prefix, self._state)
            if target not in self._state and name in self._state:
                target, pattern = rename_source_key(name, [], [], prefix, self._state)
            if target in self._state:
                found.setdefault(target, []).append((name, pattern or ""))
        return [TensorGroup(target, tuple(sources), by_pattern.get(sources[0][1])) for target, sources in found.items()]

    def _targets(self, group: TensorGroup) -> tuple[str, ...]:
        if group.converter is None:
            return (group.target,)
        empty = {name: torch.empty(self._weights.shape(name), device="meta") for name in group.files}
        return tuple(name for name in self._convert(group, empty) if name in self._state)

    def _convert(self, group: TensorGroup, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mapping = copy.deepcopy(group.converter)
        for name, pattern in group.sources:
            mapping.add_tensor(group.target, name, pattern, tensors[name])
        made = mapping.convert(group.target, model=self._model, config=self._model.config)
        return {name: one[0] if isinstance(one, list) else one for name, one in made.items()}


def _conversions(model: Any) -> list[Any]:
    """Return transformers' conversions for a model; none in versions and for models that have none."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    return list(get_model_conversion_mapping(model))


def _stored_names(model: Any, stored: Mapping[str, TensorGroup]) -> dict[str, str]:
    """Return, for each name of a parameter of `model`, the one of its (tied) names that the files hold."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    found: dict[str, str] = {}
    for tied in names.values():
        match = next((name for name in tied if name in stored), None)
        if match is None:
            raise PrerlkitError(
                f"The model's files hold no tensor that becomes {tied[0]}: their layout is not one that this "
                "transformers knows.",
                "Load the base with transformers, save it with `save_pretrained`, and use that folder as the model.",
            )
        found.update(dict.fromkeys(tied, match))
    return found


def stored_modules(folder: Path, modules: Iterable[str], *, trust_remote_code: bool = False) -> dict[str, str]:
    """Return `Layout.stored_modules` of the model in `folder`."""
    return Layout(empty_model(str(folder), trust_remote_code=trust_remote_code), Weights(folder)).stored_modules(
        modules
    )


def check_publishable(folder: str, modules: Iterable[str], *, trust_remote_code: bool = False) -> None:
    """Check that adapters on these modules can be merged into the files in `folder`. No adapter is needed.

    Raises:
        UsageError: they can't, with what to do.
    """
    try:
        layout = Layout(empty_model(folder, trust_remote_code=trust_remote_code), Weights(Path(folder)))
        tried: set[str] = set()
        for module in modules:
            group = layout.group(layout.names[f"{module}.weight"])
            kind = str(group.converter)
            if group.converter is not None and kind not in tried:
                tried.add(kind)
                layout.check_reversible(group)
    except (PrerlkitError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        why = error.message if isinstance(error, PrerlkitError) else f"{type(error).__name__}: {error}"
        raise UsageError(
            f"What is trained on this model could not be published: {why}",
            "Load the base with transformers, save it with `save_pretrained`, and use that folder as model.id.",
        ) from error
