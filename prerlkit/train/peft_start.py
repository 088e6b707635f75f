"""A first stage that is an adapter of plain PEFT (`from: FOLDER`): read whole and exactly, or refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
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
        "fan_in_fan_out",
        "layers_to_transform",
        "layers_pattern",
    ]
)
"""Keys that don't change what the factors compute. The names of the tensors say which layers have an adapter."""
_IN_THE_RECIPE = {"r": "rank", "lora_alpha": "alpha", "use_rslora": "rslora"}
_PATTERNS = ("rank_pattern", "alpha_pattern")
"""Other ranks and scales of some layers. A frozen adapter can hold them: see `PeftAdapter.load`."""
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


_PLAIN: Mapping[str, Any] = LoraConfig().to_dict()
"""PEFT's defaults."""


def is_peft_folder(folder: Path) -> bool:
    """Whether `folder` holds an adapter in PEFT's layout."""
    return (folder / CONFIG).is_file()


def digest(folder: Path) -> str:
    """Return the SHA-256 of an adapter's weights and of its configuration, as they are in the files."""
    whole = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        whole.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """A LoRA adapter in PEFT's layout, by its configuration and the header of its weights.

    Attributes:
        key: the recipe's key that names it, for messages.
        shapes: of its factors, by PEFT's file names.
    """

    folder: Path
    key: str
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def read(cls, folder: Path, key: str) -> PeftAdapter:
        """Read the adapter in `folder`; no weights.

        Raises:
            UsageError: a file is missing or can't be read, or no stage can hold this adapter.
        """
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{key}: {folder / CONFIG} can't be read: {error}", "Restore the file from a copy."
            ) from error
        if not isinstance(config, dict):
            raise UsageError(f"{key}: {folder / CONFIG} is not an object.", "Restore the file from a copy.")
        _check_config(config, folder, key)
        file = folder / WEIGHTS
        if not file.is_file():
            raise UsageError(
                f"{key}: there is no {file}.", "Save the adapter with PEFT's save_pretrained (safetensors)."
            )
        try:
            with safe_open(file, framework="pt") as weights:
                shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UsageError(f"{key}: {file} can't be read: {error}", "Restore the file from a copy.") from error
        return cls(folder, key, config, shapes)

    @property
    def base(self) -> str:
        """The name of its base that PEFT recorded; "" where it recorded none."""
        return str(self._value("base_model_name_or_path") or "")

    @property
    def revision(self) -> str | None:
        """The revision of its base that PEFT recorded."""
        recorded = self._value("revision")
        return str(recorded) if recorded else None

    @property
    def patterns(self) -> tuple[str, ...]:
        """Keys of its configuration that give some layers another rank or scale."""
        return tuple(name for name in _PATTERNS if self._value(name))

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        if not self._value("rank_pattern"):
            return int(self._value("r"))
        return max(shape[0] for name, shape in self.shapes.items() if ".lora_A." in name)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the keys of a stage's `adapter` that this adapter decides: rank, alpha, targets and rslora."""
        return {
            "rank": self.rank,
            "alpha": float(self._value("lora_alpha")),
            "targets": self._targets,
            "rslora": bool(self._value("use_rslora")),
        }

    def check_settings(self, settings: Adapter, keys: Collection[str] = _IN_THE_RECIPE.values()) -> None:
        """Raise UsageError unless a stage with these settings holds the adapter exactly.

        Args:
            keys: those of `settings` that must be the adapter's.
        """
        own, theirs = settings.model_dump(), self.settings
        if different := [f"{key} {theirs[key]!r} there, {own[key]!r} here" for key in keys if theirs[key] != own[key]]:
            raise UsageError(
                f"{self.key}: the adapter in {self.folder} has other settings: {'; '.join(different)}.",
                "Set the stage's `adapter` as it is there, or leave `objective` and `adapter` out of this stage.",
            )
        if settings.dora or settings.init != "default":
            raise UsageError(
                f"{self.key}: {self.folder} is plain LoRA; the stage's adapter has dora {settings.dora}, init "
                f"{settings.init}.",
                "Leave `dora` and `init` out of the stage's `adapter`.",
            )

    def check_uniform(self, why: str) -> None:
        """Raise UsageError, with the reason `why`, for an adapter with another rank or scale in some layers."""
        for name in self.patterns:
            raise UsageError(
                f"{self.key}: {self.folder} has {name} {self._value(name)!r}, and {why}.",
                "Freeze it: a first stage without `objective`, and a next one with `reincarnation: stack`.",
            )

    def check_shapes(self) -> None:
        """Raise UsageError unless every tensor is a factor of the rank that the configuration gives its layer."""
        file = self.folder / WEIGHTS
        if not self.shapes:
            raise UsageError(f"{self.key}: {file} has no tensors.", "Give an adapter that was trained.")
        for name, shape in self.shapes.items():
            if not name.endswith((".lora_A.weight", ".lora_B.weight")):
                raise UsageError(
                    f"{self.key}: {file} has the tensor {name}, which is no LoRA factor.", "Give a plain LoRA."
                )
            rank = self._of(_module(name), "rank_pattern", "r")
            if len(shape) != 2 or shape[0 if ".lora_A." in name else 1] != rank:
                raise UsageError(
                    f"{self.key}: {name} in {file} has shape {shape}, which is not of rank {rank}.",
                    "Restore the file from a copy.",
                )

    def load(self, settings: Adapter) -> dict[str, Tensor]:
        """Return the factors, under PEFT's file names, as a stage with these settings holds them.

        Where some layers have another rank or scale, the factors get rows and columns of zeros up to the largest rank,
        and B the quotient of the scales (rounded to float32 where that is no power of two).

        Raises:
            UsageError: they can't be read, are not finite, or `settings.dtype` would round them.
        """
        file = self.folder / WEIGHTS
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise UsageError(f"{self.key}: {file} can't be read: {error}", "Restore the file from a copy.") from error
        dtype = getattr(torch, settings.dtype)
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise UsageError(
                    f"{self.key}: {name} in {file} is not finite.", "Give an earlier checkpoint of the adapter."
                )
            if not torch.equal(tensor.to(dtype).to(tensor.dtype), tensor):
                raise UsageError(
                    f"{self.key}: {name} in {file} is {tensor.dtype}, which adapter.dtype {settings.dtype} would "
                    "round.",
                    "Set adapter.dtype to float32.",
                )
        return {name: self._widened(name, tensor) for name, tensor in tensors.items()} if self.patterns else tensors

    def _widened(self, name: str, tensor: Tensor) -> Tensor:
        module, rank = _module(name), self.rank
        own = tensor.shape[0 if ".lora_A." in name else 1]
        if ".lora_A." in name:
            return torch.cat([tensor.float(), tensor.new_zeros(rank - own, tensor.shape[1]).float()]).contiguous()
        quotient = self._scale(own, self._of(module, "alpha_pattern", "lora_alpha")) / self._scale(
            rank, self._value("lora_alpha")
        )
        wide = torch.cat([tensor.double() * quotient, tensor.new_zeros(tensor.shape[0], rank - own).double()], dim=1)
        return wide.float().contiguous()

    def _scale(self, rank: int, alpha: float) -> float:
        return float(alpha / (rank**0.5 if self._value("use_rslora") else rank))

    def _value(self, name: str) -> Any:
        return self.config.get(name, _PLAIN[name])

    def _of(self, module: str, pattern: str, plain: str) -> Any:
        """Return a layer's rank or alpha, by PEFT's rules."""
        patterns = self._value(pattern) or {}
        return patterns.get(get_pattern_key(patterns.keys(), module), self._value(plain))

    @property
    def _targets(self) -> str | list[str]:
        """The adapter's names of its target layers, if they select exactly its layers; else the layers' whole names."""
        named = self._value("target_modules")
        modules = sorted({_module(name) for name in self.shapes})
        if named == "all-linear":
            return "all-linear"
        some = any(self._value(name) for name in ("exclude_modules", "layers_to_transform"))
        if isinstance(named, list) and not some:
            own = sorted({t for t in named if any(m == t or m.endswith(f".{t}") for m in modules)})
            if all(any(m == t or m.endswith(f".{t}") for t in own) for m in modules):
                return own
        return modules


def _module(name: str) -> str:
    """Return the layer of a factor, by the model's names."""
    return name.removeprefix("base_model.model.").rpartition(".lora_")[0]


def _check_config(config: Mapping[str, Any], folder: Path, key: str) -> None:
    """Raise UsageError for an adapter that no stage can hold."""
    if config.get("peft_type") != "LORA":
        raise UsageError(f"{key}: {folder} has peft_type {config.get('peft_type')!r}.", "Give a LoRA adapter.")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower().startswith(_CHANGES_THE_BASE):
        raise UsageError(
            f"{key}: {folder} has init_lora_weights {init!r}, which changes the base's weights.",
            "Convert it to plain LoRA with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...).",
        )
    known = {*_WITHOUT_EFFECT, *_IN_THE_RECIPE.values(), *_IN_THE_RECIPE, *_PATTERNS, "peft_type", "init_lora_weights"}
    for name, value in config.items():
        if name not in known and value and value != _PLAIN.get(name):
            raise UsageError(
                f"{key}: {folder} has {name} {value!r}, which a stage can't hold.",
                "Give a plain LoRA adapter, or merge this one into its base and use the merged model as `model.id`.",
            )
