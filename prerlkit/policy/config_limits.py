"""Refuses a model's config.json whose sizes no model has, before a class of transformers computes with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prerlkit.errors import UsageError

_MOST_BYTES = 16 << 20
_DEEPEST = 20
_HINT = "Fetch the model again: its config.json is damaged, or it is no model for transformers."

_LAYERS = "num_hidden_layers n_layer n_layers num_layers num_decoder_layers"
_HEADS = "num_attention_heads num_heads n_head n_heads num_key_value_heads head_dim"
_EXPERTS = "num_experts num_local_experts n_routed_experts moe_num_experts"
_WIDTHS = "hidden_size n_embd d_model intermediate_size moe_intermediate_size n_inner ffn_dim d_ff"
_ROWS = "vocab_size"
_POSITIONS = "max_position_embeddings n_positions max_seq_len"
_LARGEST = {
    name: largest
    for names, largest in (
        (_LAYERS, 1024),
        (_EXPERTS, 1 << 14),
        (_HEADS, 1 << 16),
        (_WIDTHS, 1 << 22),
        (_ROWS, 1 << 26),
        (_POSITIONS, 1 << 40),
    )
    for name in names.split()
}
"""The largest value of each size. Ours: the largest published models have an eighth of it or less."""


def check_config(path: str | Path) -> None:
    """Check the sizes in a config.json. A file that can't be read is left to the caller.

    Args:
        path: the file, or its folder.

    Raises:
        UsageError: it is not a JSON object, or a size is no whole number, negative, or larger than any model has.
    """
    file = Path(path) / "config.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        return
    if file.stat().st_size > _MOST_BYTES:
        raise UsageError(f"{file} has {file.stat().st_size:,} bytes, more than {_MOST_BYTES:,}.", _HINT)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not readable JSON: {error}", _HINT) from error
    if not isinstance(config, dict):
        raise UsageError(f"{file} holds no JSON object.", _HINT)
    for key, size in _sizes(config, 0):
        largest = _LARGEST[key.split(".")[-1]]
        if type(size) is not int or not 0 <= size <= largest:
            raise UsageError(f"{file}: {key} is {repr(size)[:80]}, not a whole number from 0 to {largest:,}.", _HINT)


def _sizes(config: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    """Yield each known size with its key (`text_config.hidden_size`). A list has one for each layer; null is none."""
    for key, value in config.items():
        if isinstance(value, dict) and depth < _DEEPEST:
            yield from ((f"{key}.{inner}", size) for inner, size in _sizes(value, depth + 1))
        elif key in _LARGEST:
            yield from ((key, size) for size in (value if isinstance(value, list) else [value]) if size is not None)
