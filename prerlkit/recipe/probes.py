"""The recipe's section on probes, which look at a run without changing it, and a stage's rule for ending early."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from prerlkit.settings import Bool, Float, NonNegativeInt, PositiveInt, Settings


class AlignmentProbe(Settings):
    """Cosine of ∇log P(y) and ∇log P(y|x) on the trainable adapter (arXiv 2604.14142); docs/probes.md has the sums."""

    name: Literal["alignment"] = "alignment"
    every: PositiveInt = 5
    """Steps of a stage between two measurements; its first step is always measured. 5: ours."""
    groups: PositiveInt = 4
    """How many groups of the step, the first ones: each costs two passes with backward. 4: ours."""
    weight: Literal["uniform", "advantage"] = "uniform"
    """uniform: every judged completion counts the same. advantage: by its advantage, as in a policy gradient."""


class ThoughtsProbe(Settings):
    """Transition, reflection, verification and decomposition phrases in the step's completions."""

    name: Literal["thoughts"] = "thoughts"
    every: PositiveInt = 1
    """Steps of a stage between two measurements. 1: it costs next to nothing."""
    start: PositiveInt = 5
    """The mean of so many first measurements of the run is what ratios are taken to. 5: ours."""


class ExplorationProbe(Settings):
    """How different a group's completions are: answers, n-grams, self-BLEU, pass@k spread, entropy."""

    name: Literal["exploration"] = "exploration"
    every: PositiveInt = 1
    """Steps of a stage between two measurements."""
    exact_entropy: Bool = False
    """Also the mean entropy of the distributions that tokens were drawn from, instead of an estimate from the drawn
    tokens alone: one more pass without backward over the first `groups` groups."""
    groups: PositiveInt = 4
    """How many groups that pass is made over."""


class DriftProbe(Settings):
    """How far the policy has gone: KL to the base, norm and effective rank of the adapter, overlap with those below."""

    name: Literal["drift"] = "drift"
    every: PositiveInt = 5
    """Steps of a stage between two measurements. 5: ours."""
    groups: PositiveInt = 4
    """How many groups the KL is estimated on: each costs two passes without backward. 4: ours."""


class ChangeProbe(Settings):
    """What a step's update did to the log-prob of each token of its completions, behind the prompt and without."""

    name: Literal["change"] = "change"
    every: PositiveInt = 5
    """Steps of a stage between two measurements. 5: ours."""
    groups: PositiveInt = 2
    """How many groups: each costs four passes without backward, two of them without its prompt. 2: as many as
    samples.jsonl keeps of a step by default, so that the report can colour each of them."""


def _word_to_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _distinct(probes: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [probe.name for probe in probes]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f'"{twice[0]}" stands here twice')
    return probes


_Any = AlignmentProbe | ThoughtsProbe | ExplorationProbe | DriftProbe | ChangeProbe
ProbeChoice = Annotated[
    _Any, Field(discriminator="name"), BeforeValidator(_word_to_name, json_schema_input_type=str | _Any)
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
    """How many of the stage's last steps that have the metric; with fewer the stage goes on. 5: ours."""
    min_steps: NonNegativeInt = 0
    """Steps that the stage does in any case."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("give one of `below` and `above`")
        return self
