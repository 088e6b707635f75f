"""What a person wants to know of a verifier before using it: what it does, its settings, what it needs."""

from __future__ import annotations

import inspect
import types
import typing
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from prerlkit.verify.base import Verifier


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, in words. `default` is "required" where there is none."""

    name: str
    kind: str
    default: str
    doc: str


@dataclass(frozen=True, slots=True)
class Description:
    """A verifier, in words. `doc` is its file's first paragraphs where it says more than its class."""

    summary: str
    doc: str
    settings: tuple[Setting, ...]
    resources: str
    needs_answer: bool
    cases: dict[str, int]


def summary(verifier: type[Verifier]) -> str:
    """The first line of what a verifier's class says of itself."""
    return (verifier.__doc__ or "").strip().partition("\n")[0]


def describe(verifier: type[Verifier]) -> Description:
    """All that `prerlkit verifiers show` prints."""
    module = inspect.getmodule(verifier)
    counts = Counter(case.expect for case in verifier.gold)
    return Description(
        summary=summary(verifier),
        doc=inspect.cleandoc((module.__doc__ if module else "") or ""),
        settings=tuple(_setting(name, field) for name, field in verifier.Settings.model_fields.items()),
        resources=verifier.resources,
        needs_answer=verifier.needs_answer,
        cases={kind: counts[kind] for kind in ("pass", "fail", "unjudged")},
    )


def _setting(name: str, field: FieldInfo) -> Setting:
    default = "required" if field.is_required() else _value(field.get_default(call_default_factory=True))
    bounds = [words for item in field.metadata if (words := _bound(item))]
    kind = ", ".join([_kind(field.annotation), *bounds])
    return Setting(name, kind, default, " ".join((field.description or "").split()))


def _value(value: Any) -> str:
    """A default as a recipe would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)


def _kind(annotation: Any) -> str:
    """A type as a reader of YAML says it."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(args[0])
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_kind(arg) for arg in args)
    if origin in (list, tuple, set, frozenset):
        return f"list of {_kind(args[0])}" if args else "list"
    if origin is dict or annotation is dict:
        return "mapping"
    words = {str: "text", int: "whole number", float: "number", bool: "true | false", types.NoneType: "null"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bound(item: Any) -> str:
    """A limit that pydantic keeps with the type."""
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (limit := getattr(item, attribute, None)) is not None:
            return f"{sign} {limit:g}"
    return ""
