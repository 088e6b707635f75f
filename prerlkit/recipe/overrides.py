"""`--set path=value`: change a recipe on the command line, checked afterwards like the file itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.recipe.yaml_text import WrongYamlError, read
from prerlkit.suggest import nearest


def split(override: str) -> tuple[list[str], str]:
    """Return path and value text of `stages.0.steps=3`. Raise UsageError when it isn't of that form."""
    path, equals, value = override.partition("=")
    parts = [part.strip() for part in path.replace("[", ".").replace("]", "").split(".")]
    if not equals or not all(parts):
        raise UsageError(
            f'--set "{override}" is not of the form path=value.', "For example --set rollout.group_size=4 --set seed=1"
        )
    return parts, value


def apply(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `data` with the overrides in it. Items of a list go by index, or by their `name`.

    Values are YAML: `3`, `1e-5`, `true`, `null`, `[a, b]`, `{kind: clip, high: 0.3}`.
    """
    data = copy.deepcopy(data)
    for override in overrides:
        parts, text = split(override)
        try:
            value = read(text) if text.strip() else ""
        except WrongYamlError as error:
            raise UsageError(f'--set "{override[:200]}": the value is not YAML: {error}') from None
        _set(data, parts, value, override)
    return data


def _set(node: Any, parts: list[str], value: Any, override: str) -> None:
    for depth, part in enumerate(parts[:-1]):
        key = _key(node, part, override)
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        if isinstance(node[key], str):  # `loss: clip` is short for `loss: {kind: clip}`
            node[key] = {_WORD_IS.get(parts[depth - isinstance(key, int)], "kind"): node[key]}
        node = node[key]
        if not isinstance(node, dict | list):
            raise UsageError(f'--set "{override}": {".".join(parts[: depth + 1])} is a value, not a section.')
    node[_key(node, parts[-1], override)] = value


_WORD_IS = {"objective": "preset", "probes": "name"}
"""The key that a single word sets, where it isn't `kind`."""


def _key(node: Any, part: str, override: str) -> Any:
    """Return the key or index of `part` in `node`."""
    if isinstance(node, dict):
        return part
    if part.isdigit() and int(part) < len(node):
        return int(part)
    names = [item.get("name") if isinstance(item, dict) else item for item in node]
    if part in names:
        return names.index(part)
    words = [name for name in names if isinstance(name, str)]
    hint = nearest(part, words) if words else ""
    raise UsageError(f'--set "{override}": the list has {len(node)} items and none is "{part}"{hint}')
