"""Check that an adapter was trained on a base model, by a fingerprint of the base's config and of a few tensors.

A LoRA adapter loads onto any model with the same shapes and is noise on all but one of them. The fingerprint is made
from the model's files: it costs a few small reads and is the same for a 16-bit and a 4-bit run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import write_json
from prerlkit.policy import source
from prerlkit.recipe.model import Model

BASE_FILE = "base.json"
"""Next to an adapter's weights: {id, revision, fingerprint} of the base that it belongs to."""
TENSORS = 8
"""How many weight matrices are looked at, at even distances over the sorted names. Ours: a fine-tune moves them all."""
ROWS = 64
"""Their first rows."""

# What differs between two saves of one model: where it lay, which program wrote it, how it is held in memory.
_VOLATILE = {
    "_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "use_cache", "unsloth_version",
    "quantization_config", "_attn_implementation_autoset",
}  # fmt: skip


def base_fingerprint(path: str | Path) -> dict[str, Any]:
    """Return the fingerprint of a model folder: {version, config, tensors: {name: sha256}}.

    Weights are rounded to bfloat16 first: a model and its float32 copy are the same base.

    Args:
        path: a folder with config.json and safetensors (or .bin) weights, as `source.resolve` gives it.

    Raises:
        UsageError: no config.json or no weights there, or one of them can't be read.
    """
    folder = Path(path)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        settings = {key: value for key, value in config.items() if key not in _VOLATILE}
        hashes = {name: _hash(rows) for name, rows in _first_rows(folder).items()}
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{folder} is not a readable model folder: {error}") from error
    if not hashes:
        raise UsageError(f"{folder} holds no weight matrices")
    config_hash = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return {"version": 1, "config": config_hash, "tensors": hashes}


def difference(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return how two fingerprints differ: "" (equal), "config" (same weights, another config.json), or "weights"."""
    if recorded["tensors"] != found["tensors"]:
        return "weights"
    return "" if recorded["config"] == found["config"] else "config"


def write_base(folder: Path, model_id: str, revision: str | None, path: str | Path) -> None:
    """Write BASE_FILE into an adapter's folder.

    Args:
        model_id, revision: the base as a recipe names it, and its Hub commit.
        path: where its files lie.
    """
    write_json(folder / BASE_FILE, {"id": model_id, "revision": revision, "fingerprint": base_fingerprint(path)})


def read_base(folder: Path) -> dict[str, Any] | None:
    """Return the content of BASE_FILE; None where there is none. UsageError when it is not what `write_base` wrote."""
    file = folder / BASE_FILE
    if not file.is_file():
        return None
    try:
        base: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        base["id"], base["fingerprint"]["tensors"], base["fingerprint"]["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} can't be read: {error!r}", "Delete it to do without the check.") from error
    return base


def check_base(recorded: Mapping[str, Any], path: str | Path, *, adapter: str, base: str) -> str:
    """Compare the base at `path` with the fingerprint that was recorded when the adapter was trained.

    Args:
        adapter, base: how messages call the two.

    Returns:
        A line for a person where only config.json differs, else "".

    Raises:
        PrerlkitError: its weights are others.
    """
    match difference(recorded, base_fingerprint(path)):
        case "weights":
            raise PrerlkitError(
                f"{base} is not the model that {adapter} was trained on: their weights differ. On it the adapter would "
                "be noise.",
                "Give the base that it was trained on, at the same revision.",
            )
        case "config":
            return f"{base} has the weights that {adapter} was trained on, but another config.json"
    return ""


def resolve_for(
    adapter: str, model: Model, recorded: Mapping[str, Any] | None, report: source.Report = None
) -> tuple[source.ResolvedModel, str]:
    """Download the base of an adapter where it is missing, and check that the adapter was trained on it.

    Args:
        adapter: its name in messages, or its run's.
        recorded: the fingerprint that was taken then.

    Returns:
        The base, and a line for a person ("": nothing to say).

    Raises:
        PrerlkitError: the base can't be downloaded, or its weights differ.
    """
    try:
        resolved = source.resolve(model, report=report)
    except PrerlkitError as error:
        error.hint = (
            f"{error.hint} If the base of {adapter} lies elsewhere now, name it: --base FOLDER_OR_HUB_ID.".strip()
        )
        raise
    if recorded is None:
        return resolved, f"{adapter} doesn't say what its base's weights were: not checked that {model.id} is it"
    return resolved, check_base(recorded, resolved.path, adapter=adapter, base=model.id)


def _hash(rows: Tensor) -> str:
    rows = rows.to(torch.bfloat16) if rows.is_floating_point() else rows
    shape = json.dumps(list(rows.shape)).encode()
    return hashlib.sha256(shape + rows.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def _first_rows(folder: Path) -> dict[str, Tensor]:
    """Return ROWS rows of the chosen matrices, by name, without the head: some files of tied models lack it."""
    from safetensors import safe_open

    with ExitStack() as open_files:
        readers: dict[str, Callable[[], Tensor]] = {}
        for file in sorted(folder.glob("*.safetensors")):
            weights = open_files.enter_context(safe_open(file, framework="pt"))
            for name in weights.keys():  # noqa: SIM118 - no mapping
                rows = weights.get_slice(name)
                if len(rows.get_shape()) > 1:
                    readers[name] = lambda rows=rows: rows[:ROWS]  # type: ignore[misc]
        for file in sorted(folder.glob("*.bin")) if not readers else ():
            for name, tensor in torch.load(file, map_location="cpu", weights_only=True, mmap=True).items():
                if tensor.dim() > 1:
                    readers[name] = lambda tensor=tensor: tensor[:ROWS]  # type: ignore[misc]
        names = sorted(name for name in readers if not name.endswith("lm_head.weight"))
        count = min(TENSORS, len(names))
        return {name: readers[name]() for name in (names[i * len(names) // count] for i in range(count))}
