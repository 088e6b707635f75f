"""The base of every settings class: frozen, unknown keys refused, no silent conversion of text into numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

Int = Annotated[int, Strict()]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Bool = Annotated[bool, Strict()]
PositiveInt = Annotated[int, Strict(), Field(ge=1)]
NonNegativeInt = Annotated[int, Strict(), Field(ge=0)]
PositiveFloat = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]


def mistake(item: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors without the name of its kind ("Value error, …")."""
    text: str = item["msg"]
    return text.removeprefix("Value error, ").removeprefix("Assertion failed, ")


class Settings(BaseModel):
    """Frozen pydantic model that refuses unknown keys. Recipe sections and verifier settings derive from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, serialize_by_alias=True)


class ProbeSettings(Settings):
    """The base of a probe's settings in a recipe."""

    name: str
    every: PositiveInt = 1
    """Steps of a stage between two measurements; its first step is always measured."""

    @property
    def label(self) -> str:
        """What metrics and probes.jsonl call it."""
        return self.name


def word_to_kind(value: Any) -> Any:
    """Let a recipe write `loss: clip` for `loss: {kind: clip}`: a choice without knobs is one word."""
    return {"kind": value} if isinstance(value, str) else value
