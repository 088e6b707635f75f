"""The protocol of a probe: it receives a step before its update and returns numbers. It keeps and changes nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from prerlkit import settings as _settings
from prerlkit.errors import UsageError
from prerlkit.metrics.metric import Metric
from prerlkit.types import Group

if TYPE_CHECKING:
    from prerlkit.policy.policy import Policy
    from prerlkit.recipe.schema import Recipe, Stage

History = Sequence[tuple[str, Mapping[str, float]]]
"""(stage, metrics) of every step of the run so far, in order."""


@dataclass(frozen=True, slots=True)
class ProbeInput:
    """A step as a probe sees it: after rollout and verdicts, before the update. The policy is the one that sampled.

    `ProbeResult.after` receives the same step after the update, with the new policy.

    Attributes:
        groups: of the whole step, of all processes.
        past: metrics of the earlier steps. A probe that compares with them reads them here and keeps no state, so a
            resumed run measures what a straight run measures.
        pass_tokens: how many tokens may go through the model at once, padding included.
        chunk: positions whose logits may exist at once.
    """

    policy: Policy
    stage: Stage
    groups: tuple[Group, ...]
    past: History
    pass_tokens: int
    chunk: int


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe measured.

    Attributes:
        metrics: numbers for metrics.jsonl, under names of the probe's `metrics`. What can't be measured is left out.
        details: what has more than one number, for probes.jsonl; JSON values only.
        after: called in the same step after its update; its numbers are added to these.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    after: Callable[[ProbeInput], ProbeResult] | None = None


class Probe(ABC):
    """A measurement of a step. A new probe is one file with settings, metrics and a subclass of this class, and a line
    in `recipe.probes.PROBES`; or a file next to a recipe.

    A built-in probe's file imports torch, recipe and policy only inside functions or for types, because it is imported
    wherever a recipe is checked. A probe from `path/to/file.py:Name` may import anything.

    Class attributes:
        name: what a recipe calls it.
        Settings: a frozen pydantic class.
        metrics: every number that it may return; a stage's rule may use them, and docs/probes.md lists them.
        makes_passes: whether it runs the model; `memory.shard_base` then refuses it.
        cheaper: a way to avoid passes, as the end of an error message.
    """

    name: str
    Settings: ClassVar[type[_settings.Settings]] = _settings.Settings
    metrics: ClassVar[tuple[Metric, ...]] = ()
    makes_passes: bool = True
    cheaper: ClassVar[str] = ""
    every: int = 1
    """It measures in each stage's first step and in every `every`-th step after it."""

    settings: Any

    def __init__(self, settings: _settings.Settings) -> None:
        self.settings = settings
        if isinstance(settings, _settings.ProbeSettings):
            self.every = settings.every

    def check(self, recipe: Recipe) -> None:
        """Raise UsageError for a recipe in which the probe can't measure."""
        if recipe.memory.shard_base and self.makes_passes:
            raise UsageError(
                f'the probe "{self.name}" makes passes through the model in one process, and memory.shard_base needs '
                "all processes for each pass.",
                f"Leave out one of the two{self.cheaper}.",
            )

    @abstractmethod
    def measure(self, seen: ProbeInput) -> ProbeResult:
        """Return what a step shows. Draws no random number, leaves no gradient, changes no parameter."""
