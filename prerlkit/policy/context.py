"""How many positions a model was made for, and whether prompts with their completions go beyond them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len")


def read_config(folder: str) -> dict[str, Any]:
    """Return a model's config.json; empty where there is none that can be read."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def positions(config: Mapping[str, Any]) -> int | None:
    """Return the largest number of positions that a model's config allows; None where it names no number."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        for key in _KEYS:
            if isinstance(part.get(key), int):
                return int(part[key])
    return None


def context_note(config: Mapping[str, Any], prompt: int, new: int) -> str:
    """Return a sentence when a prompt of `prompt` tokens and `new` ones exceed the model's positions; otherwise ""."""
    most = positions(config)
    if not most or prompt + new <= most:
        return ""
    return (
        f"the longest prompt ({prompt:,} tokens) and {new:,} new ones exceed the model's context of {most:,}: what it "
        "writes past that means little"
    )
