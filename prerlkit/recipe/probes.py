"""The recipe's section on probes, which look at a run without changing it, and a stage's rules for ending early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self, Union

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from prerlkit.plugins import FILE, FileName, built_in, is_file
from prerlkit.settings import Float, Fraction, NonNegativeInt, PositiveInt, ProbeSettings, Settings

PROBES = {
    "alignment": "prerlkit.probes.alignment:Alignment",
    "token_alignment": "prerlkit.probes.token_alignment:TokenAlignment",
    "thoughts": "prerlkit.probes.thoughts:Thoughts",
    "exploration": "prerlkit.probes.exploration:Exploration",
    "drift": "prerlkit.probes.drift:Drift",
    "change": "prerlkit.probes.change:Change",
}
"""The class of each probe, a `prerlkit.probes.protocol.Probe`. Its file holds its settings and its metrics too."""


class FileProbe(ProbeSettings):
    """A probe from a file next to the recipe: a `prerlkit.probes.protocol.Probe`."""

    name: FileName
    """path/to/file.py:Name"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Its own, checked by its own class."""

    @property
    def label(self) -> str:
        return self.name.rpartition(":")[2]


def _word_to_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _distinct(probes: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [probe.name for probe in probes]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f'"{twice[0]}" stands here twice')
    return probes


def name(value: Any) -> str | None:
    """Return the tag of a probe: its name, or `FILE` for the name of a file."""
    word = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    return FILE if is_file(word) else word


if TYPE_CHECKING:
    ProbeChoice = ProbeSettings
else:  # built from the probes' own files, which import nothing of recipes
    _Any = Union[
        (
            *(Annotated[built_in(where).Settings, Tag(word)] for word, where in PROBES.items()),
            Annotated[FileProbe, Tag(FILE)],
        )
    ]
    ProbeChoice = Annotated[
        _Any, Discriminator(name), BeforeValidator(_word_to_name, json_schema_input_type=str | _Any)
    ]
ProbeChoices = Annotated[tuple[ProbeChoice, ...], AfterValidator(_distinct)]


class Until(Settings):
    """A stage ends before its `steps` when the mean of a metric over its last measurements passes a bound."""

    metric: str
    """As in metrics.jsonl: `reward/mean`, or `probe/alignment` where that probe is on."""
    below: Float | None = None
    """End when the mean is below this."""
    above: Float | None = None
    """End when the mean is above this. One of `below` and `above`."""
    window: PositiveInt = 5
    """How many of the stage's last steps that have the metric; with fewer the stage continues. 5: ours."""
    min_steps: NonNegativeInt = 0
    """Steps that the stage does in any case."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("give one of `below` and `above`")
        return self


class Guard(Settings):
    """A stage ends when its policy collapses, and the last good adapter is restored."""

    pass_rate: Fraction = 0.5
    """End when the share of completions that pass is below this share of what it was at the stage's start, by more than
    chance explains. 0: only when no group has signal any more."""
    window: PositiveInt = 3
    """Steps that are compared, at least. 3: ours."""
