"""The error text for a wrong recipe: file, line, key, the expected value, the nearest right key."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prerlkit.plugins import FILE
from prerlkit.recipe.inherit import SECTIONS
from prerlkit.recipe.overrides import split
from prerlkit.recipe.peers import OURS, VALUES, meant_value, translated
from prerlkit.recipe.schema import Recipe
from prerlkit.settings import mistake
from prerlkit.suggest import closest, nearest

_SHOWN = 12


def explain(error: ValidationError, path: Path, source: Any, overrides: Sequence[str]) -> str:
    """Return one line per mistake, in the file's order."""
    found = [item for item in error.errors() if not _only_inherited(item["loc"], source)]
    unknown = [item["loc"] for item in found if item["type"] == "extra_forbidden"]
    meant = {(*loc[:-1], name) for loc in unknown for name in _meant(loc)}
    found = [item for item in found if item["type"] != "missing" or item["loc"] not in meant]
    found.sort(key=lambda item: item["type"] == "missing")  # what is misspelled is often what is missing
    lines = [_line(item, path, source, overrides) for item in found or error.errors()]
    more = [f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])


def _meant(loc: tuple[int | str, ...]) -> set[str]:
    """Return the keys of a section that the unknown key at `loc` may stand for."""
    key = str(loc[-1])
    peers = OURS.get(key, "").rpartition(".")[2]
    return {name for name in (closest(key, _fields_at(loc[:-1])), peers) if name}


def _elsewhere(key: str) -> str:
    """Return a clause about a key that is known in other sections."""
    places = [path for path in _paths(Recipe) if path.rpartition(".")[2] == key]
    places.sort(key=lambda path: (path.count("."), path))
    return f"; did you mean {' or '.join(f'`{path}`' for path in places[:2])}?" if places else ""


def _paths(model: type[BaseModel], prefix: str = "", above: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    """Yield the path of every key; `NAME` is a stage's or a verifier's."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield path
        inside = _models(field.annotation)
        step = f"{path}.NAME." if path in ("stages", "verifiers") else f"{path}."
        for one in inside:
            if one not in above:
                yield from _paths(one, step, (*above, model))


def _line(item: ErrorDetails, path: Path, source: Any, overrides: Sequence[str]) -> str:
    keys, line = _trace(item["loc"], source)
    where = _override_of(keys, overrides, _in_file(keys, source)) or (f"{path}:{line}" if line else str(path))
    name = _dotted(keys)
    return f"{where}: {name + ': ' if name else ''}{_what(item)}"


def _what(item: ErrorDetails) -> str:
    loc, kind = item["loc"], item["type"]
    if kind == "extra_forbidden":
        key = str(loc[-1])
        return f"unknown key{translated(key) or _elsewhere(key) or nearest(key, _fields_at(loc[:-1]))}"
    if kind == "missing":
        return "this key is required"
    message = mistake(item)
    if kind == "value_error":
        return message
    if kind == "union_tag_invalid":
        context = item["ctx"]
        tags = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        words = [tag for tag in tags if tag != FILE]
        clause = _close(context["tag"], words) or (f" (or {FILE})" if FILE in tags else "")
        return f'"{context["tag"]}" is not one of {", ".join(words)}{clause}'
    if kind == "union_tag_not_found":
        return "needs `{}`, or a single word".format(item["ctx"]["discriminator"].strip("'()"))
    if kind == "model_type":
        return f"expected keys and values, got {_short(item['input'])}"
    message = message.replace("Input should be", "expected")
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", message)
        return f"{message}, got {_short(item['input'])}{meant_value(str(item['input']), known)}"
    if kind == "unknown_preset":
        name = item["ctx"]["name"]
        meant = VALUES.get(name.strip("'").lower())
        return f'{name} is not a preset; did you mean "{meant}"?' if meant else message
    return f"{message}, got {_short(item['input'])}"


def _close(word: str, known: Sequence[str]) -> str:
    clause = nearest(word, known)
    return clause if clause.startswith(";") else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _only_inherited(loc: tuple[int | str, ...], source: Any) -> bool:
    """Return whether the mistake is in the recipe's section, from which the stage inherited it."""
    if len(loc) < 4 or loc[0] != "stages" or loc[2] not in SECTIONS:
        return False
    try:
        return loc[3] not in source["stages"][loc[1]][loc[2]]
    except (KeyError, IndexError, TypeError):
        return True


def _trace(loc: tuple[int | str, ...], source: Any) -> tuple[list[str | int], int | None]:
    """Return the keys of `loc` in the file (without union tags), and the line of the deepest one."""
    keys: list[str | int] = []
    node, line = source, None
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if _holds(node, part):
            lines = node.lc.data or {}  # None where all keys came through `<<`
            line = lines[part][0] + 1 if part in lines else line
            node = node[part]
        elif not last and not isinstance(part, int) and part not in _known_keys():
            continue  # the tag of a union, such as `clip`
        elif isinstance(part, int) and not isinstance(node, list):
            continue  # a single objective is a list of one
        else:
            node = None
        keys.append(part)
    return keys, line


def _holds(node: Any, part: int | str) -> bool:
    if isinstance(node, Mapping):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and part < len(node)


def _dotted(keys: Sequence[str | int]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f"{'.' if text else ''}{key}"
    return text


def _override_of(keys: Sequence[str | int], overrides: Sequence[str], in_file: bool) -> str:
    """Return the `--set` that a mistake came from, or "". It also made the sections above what it sets.

    Args:
        in_file: whether the recipe's file has the key.
    """
    for override in reversed(overrides):
        parts, _ = split(override)
        # An item of a list may have been addressed by its name.
        same = [str(k) == p or (isinstance(k, int) and not p.isdigit()) for k, p in zip(keys, parts, strict=False)]
        if all(same) and (len(keys) >= len(parts) or (keys and not in_file)):
            return f"--set {override}"
    return ""


def _in_file(keys: Sequence[str | int], source: Any) -> bool:
    """Return whether the recipe's file has the key."""
    for key in keys:
        if not _holds(source, key):
            return False
        source = source[key]
    return True


def _fields_at(loc: Sequence[int | str]) -> list[str]:
    """Return the names of the keys that are known at `loc`."""
    candidates: list[type[BaseModel]] = [Recipe]
    for part in loc:
        if isinstance(part, int):
            continue
        inside = [c.model_fields[part].annotation for c in candidates if part in c.model_fields]
        if inside:
            candidates = [model for annotation in inside for model in _models(annotation)]
        else:
            tagged = [c for c in candidates if part in _literals(c)]
            candidates = tagged or candidates
    return sorted({name for c in candidates for name in _keys(c)})


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the names of a section's keys as a recipe writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _literals(model: type[BaseModel]) -> tuple[Any, ...]:
    """Return the tags of this member of a union."""
    tags = [model.model_fields[key].annotation for key in ("kind", "name") if key in model.model_fields]
    return tuple(word for tag in tags if typing.get_origin(tag) is typing.Literal for word in typing.get_args(tag))


def _known_keys() -> set[str]:
    """Return every key of the schema, to tell a key from a union's tag."""
    keys: set[str] = set()
    todo: list[type[BaseModel]] = [Recipe]
    seen: set[type[BaseModel]] = set()
    while todo:
        model = todo.pop()
        if model in seen:
            continue
        seen.add(model)
        keys |= set(_keys(model))
        todo += [m for field in model.model_fields.values() for m in _models(field.annotation)]
    return keys
