"""The environment of a run: versions, hardware, and resolved values of its recipe."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import prerlkit
from prerlkit.policy.identity import base_fingerprint
from prerlkit.recipe.dtype import cpu_rates
from prerlkit.train.prepare import Prepared

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "huggingface_hub",
    "safetensors",
    "math-verify",
    "numpy",
    "vllm",
    "unsloth",
)


def describe(
    prepared: Prepared, device: torch.device, recipe_folder: Path | None, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of environment.json. No environment variables: they hold secrets.

    Args:
        origin: of `resume.origin`: SHA-256 of each file that the recipe names, and of the adapter that it begins with.
    """
    versions = {"prerlkit": prerlkit.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    hardware: dict[str, Any] = {
        "platform": platform.platform(),
        "device": str(device),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if device.type == "cpu":
        hardware["gflops"] = cpu_rates()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        hardware["gpu"] = {"name": properties.name, "memory_bytes": properties.total_memory}
    return {
        "versions": versions,
        "hardware": hardware,
        "plugins": dict(origin["plugins"]),
        **({"taken": dict(origin["taken"])} if origin["taken"] else {}),
        "recipe_folder": str(recipe_folder.resolve()) if recipe_folder else None,
        "model": {
            "origin": prepared.model.origin,
            "path": str(prepared.model.path),
            "revision": prepared.model.revision,
            "fingerprint": base_fingerprint(prepared.model.path),
        },
        "start_token": asdict(prepared.tokens.start),
        "end_token_ids": list(prepared.tokens.end_ids),
    }


def _cpu() -> str | None:
    """Return the processor's name, such as "AMD EPYC"; None where the system doesn't tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
