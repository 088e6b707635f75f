"""A checkpoint: where a run is, its adapters and its optimizer, in safetensors and JSON only, each with its checksum.

Randomness needs no state here: every draw is a function of the seed and the position (`prerlkit.seeds`), the order of
the prompts too. Nor does the schedule, a function of the step. One number, the position, stands for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from prerlkit.errors import PrerlkitError
from prerlkit.files import is_inside, new_folder, write_json
from prerlkit.policy.adapters import AdapterStack
from prerlkit.runs.checksums import sha256

_TENSOR = "$tensor"
"""Key that represents a tensor in the JSON part of an optimizer's state."""
_MOST = 10**15
"""No count of a run is larger."""
_STATE, _OPTIMIZER, _CHECKSUMS = "state.json", "optimizer.safetensors", "checksums.json"
_SOURCE = "source.safetensors"


class Damaged(Exception):  # noqa: N818 -- never leaves runs/: the checkpoint before is used
    """A checkpoint is not what was written; the text says which file and how."""


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

    def advance(self, *, prompts: int, seconds: float, generated: int, trained: int, skipped: int) -> Position:
        """Return the position after one more step that took and made this much."""
        return replace(
            self,
            stage_step=self.stage_step + 1,
            step=self.step + 1,
            prompts=self.prompts + prompts,
            seconds=self.seconds + seconds,
            generated=self.generated + generated,
            trained=self.trained + trained,
            skipped=self.skipped + skipped,
        )

    def next_stage(self) -> Position:
        return replace(self, stage=self.stage + 1, stage_step=0)


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a stage's source of sequences keeps between steps: JSON values, and tensors by name."""

    plain: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def save(
    folder: Path,
    position: Position,
    adapters: AdapterStack,
    optimizer: torch.optim.Optimizer,
    origin: Mapping[str, Any] | None = None,
    source: SourceState | None = None,
) -> None:
    """Write a checkpoint, whole or not at all. It needs no other file: the adapters of finished stages are in it.

    Args:
        origin: what a run must have been made from to resume here (`train.resume.origin`).
        source: what the stage's source of sequences keeps.

    Raises:
        PrerlkitError: the adapter is not finite, so no run could resume from it; nothing is written.
    """
    tensors, layout = _flatten(optimizer.state_dict())
    with new_folder(folder) as temporary:
        for layer in adapters.layers:
            state = adapters.state(layer.name)
            if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
                raise PrerlkitError(
                    f'The adapter of stage "{layer.name}" holds weights that are not finite at step {position.step}; '
                    "it was not saved.",
                    "The checkpoint before is whole. Lower the learning rate, then add --resume.",
                )
            save_file(state, temporary / _adapter_file(layer.name))
            if layer.start is not None and layer.status == "trainable":
                save_file(dict(layer.start), temporary / _start_file(layer.name))
            if layer.good is not None and layer.status == "trainable":
                save_file(dict(layer.good), temporary / _good_file(layer.name))
        save_file(tensors, temporary / _OPTIMIZER)
        names = [layer.name for layer in adapters.layers]
        state_json = {"position": asdict(position), "stages": names, "origin": dict(origin or {}), "optimizer": layout}
        if source is not None:
            save_file(dict(source.tensors), temporary / _SOURCE)
            state_json["source"] = dict(source.plain)
        write_json(temporary / _STATE, state_json)
        write_json(temporary / _CHECKSUMS, {file.name: sha256(file) for file in sorted(temporary.iterdir())})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk whose checksums were found right."""

    folder: Path
    position: Position
    stages: tuple[str, ...]
    """Those whose adapters are in it. A stage that another continued is not: its adapter became the other's."""
    origin: Mapping[str, Any]
    _layout: Mapping[str, Any]
    _source: Mapping[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Check every byte of a checkpoint. Raises Damaged with the file and what is wrong with it."""
        try:
            sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
            for name, expected in sums.items():
                if not is_inside(name):
                    raise Damaged(f"{_CHECKSUMS} names {name[:100]}, which is not in its folder")
                if sha256(folder / name) != expected:
                    raise Damaged(f"{name} is not what was written (its SHA-256 differs)")
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            missing = {_STATE, _OPTIMIZER, *map(_adapter_file, state["stages"])} - set(sums)
            if missing:
                raise Damaged(f"{min(missing)} has no checksum")
            position = _position(state["position"])
            if "source" in state and _SOURCE not in sums:
                raise Damaged(f"{_SOURCE} has no checksum")
            kept = state["optimizer"], state.get("source")
            return cls(folder, position, tuple(state["stages"]), state["origin"], *kept)
        except FileNotFoundError as error:
            raise Damaged(f"{Path(error.filename).name} is missing") from None
        except OSError as error:
            raise Damaged(f"it can't be read: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Damaged(f"its JSON is not what was written: {error}") from None

    def adapter(self, stage: str) -> Path:
        """The file with the adapter of a stage in `stages`."""
        return self.folder / _adapter_file(stage)

    @property
    def source(self) -> SourceState | None:
        """What the stage's source of sequences kept; None where it kept nothing."""
        return None if self._source is None else SourceState(self._source, load_file(self.folder / _SOURCE))

    def restore_adapter(self, name: str, adapters: AdapterStack) -> None:
        """Put the weights of stage `name` into its adapter, with those it began with and the last good ones."""
        try:
            adapters.load_state(name, load_file(self.adapter(name)))
            if (start := self.folder / _start_file(name)).exists():
                adapters.load_start(name, load_file(start))
            if (good := self.folder / _good_file(name)).exists():
                adapters.keep_good(name, load_file(good))
        except (ValueError, RuntimeError, OSError, SafetensorError) as error:
            why = " ".join(str(error).split())[:300]
            raise PrerlkitError(
                f"{self.folder} does not fit this recipe's model: {why}", "Resume with the model that wrote it."
            ) from error

    def restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the optimizer's state into the current stage's."""
        optimizer.load_state_dict(_unflatten(load_file(self.folder / _OPTIMIZER), dict(self._layout)))


def _position(values: Mapping[str, Any]) -> Position:
    """Return a position from JSON. Raises ValueError for a number that is none, negative or not whole."""
    position = Position(**values)
    for name, value in asdict(position).items():
        allowed = int | float if name == "seconds" else int
        if isinstance(value, bool) or not isinstance(value, allowed) or not 0 <= value < _MOST:
            raise ValueError(f"position.{name} is {value!r:.60}")
    return position


def _adapter_file(stage: str) -> str:
    return f"adapter.{stage}.safetensors"


def _start_file(stage: str) -> str:
    """The factors with which a stage continued the adapter of another; KL at its end is to the policy with them."""
    return f"start.{stage}.safetensors"


def _good_file(stage: str) -> str:
    return f"good.{stage}.safetensors"


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
