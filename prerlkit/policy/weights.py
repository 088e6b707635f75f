"""The tensors of a model folder by name, read one at a time: a large model is merged in little memory."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import is_inside

INDEX = "model.safetensors.index.json"
_BLOCKS, _SCALES = "_blocks", "_scales"


def shards_of(index: Path) -> list[str]:
    """Return the names of the files that an index of weights names, sorted.

    Raises:
        PrerlkitError: it can't be read, or names a file outside of its folder, which may be a private one.
    """
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PrerlkitError(f"{index} is no index of weights: {error}", "Fetch the model again.") from error
    if outside := [name for name in names if not is_inside(name)]:
        raise PrerlkitError(f"{index} names {outside[0][:200]}, which is not in its folder.", "Fetch the model again.")
    return names


class Weights:
    """Read access to the weights in `folder`, safetensors or `.bin`, sharded or not.

    A tensor in MXFP4 (gpt-oss's experts: `X_blocks` and `X_scales`) is `X`, unpacked to bfloat16, which loses nothing.

    Attributes:
        names: every tensor's name, sorted.

    Raises:
        UsageError: no weights there.
        PrerlkitError: a file can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handles: dict[str, Any] = {}
        files = self._files()
        if not files:
            raise UsageError(f"{folder} holds no weights", "It needs *.safetensors (or *.bin) files.")
        for file in files:
            self._open(file)
        self._packed: set[str] = set()
        blocks = [name.removesuffix(_BLOCKS) for name in self._handles if name.endswith(_BLOCKS)]
        self._packed.update(name for name in blocks if self._is_mxfp4(name))
        packed = {f"{name}{part}" for name in self._packed for part in (_BLOCKS, _SCALES)}
        self.names = sorted((self._handles.keys() - packed) | self._packed)

    def __contains__(self, name: str) -> bool:
        return name in self._packed or name in self._handles

    def __call__(self, name: str) -> Tensor:
        """Return the tensor as it is in its file, on the CPU."""
        if name in self._packed:
            from transformers.integrations.mxfp4 import convert_moe_packed_tensors

            unpacked: Tensor = convert_moe_packed_tensors(self(f"{name}{_BLOCKS}"), self(f"{name}{_SCALES}"))
            return unpacked.cpu()
        handle = self._handles[name]
        tensor: Tensor = handle[name] if isinstance(handle, dict) else handle.get_tensor(name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the tensor's shape, without reading it."""
        if name in self._packed:
            experts, rows, groups, pairs = self.shape(f"{name}{_BLOCKS}")
            return experts, groups * 2 * pairs, rows  # as transformers holds it, transposed
        handle = self._handles[name]
        return tuple(handle[name].shape if isinstance(handle, dict) else handle.get_slice(name).get_shape())

    def size(self, name: str) -> tuple[int, torch.dtype]:
        """Return number of elements and dtype, without reading the tensor."""
        if name in self._packed:
            return math.prod(self.shape(name)), torch.bfloat16
        handle = self._handles[name]
        if isinstance(handle, dict):
            return handle[name].numel(), handle[name].dtype
        part = handle.get_slice(name)
        count = 1
        for length in part.get_shape():
            count *= length
        return count, _DTYPES[part.get_dtype()]

    def _is_mxfp4(self, name: str) -> bool:
        blocks = f"{name}{_BLOCKS}"
        bytes_of_groups = len(self.shape(blocks)) == 4 and self.size(blocks)[1] == torch.uint8
        return bytes_of_groups and f"{name}{_SCALES}" in self._handles

    def _files(self) -> list[Path]:
        index = self.folder / INDEX
        if index.is_file():
            return [self.folder / name for name in shards_of(index)]
        if (whole := self.folder / "model.safetensors").is_file():
            return [whole]
        return sorted(self.folder.glob("*.safetensors")) or sorted(self.folder.glob("*.bin"))

    def _open(self, file: Path) -> None:
        try:
            handle: Any
            if file.suffix == ".bin":
                handle = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            else:
                handle = safe_open(file, framework="pt")
            self._handles.update(dict.fromkeys(handle.keys(), handle))
        except (OSError, SafetensorError, RuntimeError, ValueError, pickle.UnpicklingError, EOFError) as error:
            raise PrerlkitError(
                f"{file} can't be read: {(str(error).splitlines() or [type(error).__name__])[0]}",
                "The file is damaged or cut short: fetch the model again.",
            ) from error


_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
