"""Which prompts a step samples: all in turn, or by their recent pass rate (`rollout.difficulty`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prerlkit.data.stream import PromptStream
from prerlkit.metrics.catalogue import DIFFICULTY_KNOWN, DIFFICULTY_PASSED_OVER
from prerlkit.recipe.rollout import Difficulty
from prerlkit.runs.checkpoint import Position, SourceState
from prerlkit.seeds import uniforms
from prerlkit.types import Group, Prompt


class PromptOrder(Protocol):
    """Draws a stage's prompts. `start` and `Position.prompts` count the prompts that were drawn."""

    def begin(self, position: Position) -> None:
        """Be ready for the step after `position`."""
        ...

    def batch(self, start: int, count: int) -> Sequence[Prompt]:
        """Return prompts number start … start + count − 1."""
        ...

    def observe(self, groups: Sequence[Group]) -> dict[str, float]:
        """Learn from all that the step sampled, and return what to record."""
        ...

    def state(self, position: Position) -> SourceState | None:
        """Return what a checkpoint of `position` must keep."""
        ...

    def restore(self, position: Position, state: SourceState) -> None:
        """Continue with what a checkpoint of `position` kept."""
        ...


class InTurn:
    """Draws all prompts in the stream's order."""

    def __init__(self, stream: PromptStream[Prompt]) -> None:
        self._stream = stream

    def begin(self, position: Position) -> None:
        """Do nothing."""

    def batch(self, start: int, count: int) -> Sequence[Prompt]:
        """Return prompts number start … start + count − 1 of the stream."""
        return self._stream.batch(start, count)

    def observe(self, groups: Sequence[Group]) -> dict[str, float]:
        """Return nothing."""
        return {}

    def state(self, position: Position) -> SourceState | None:
        """Return None: the stream is a function of the position."""
        return None

    def restore(self, position: Position, state: SourceState) -> None:
        """Do nothing."""


class ByPassRate:
    """Walks along the stream and passes over prompts whose last pass rate is outside of a range.

    One object serves one stage. What it draws is a function of the seed, the place in the stream and the rates, so a
    resumed run draws the same. Where a whole round over the prompts holds none, it takes the next ones.

    Args:
        size: number of prompts.
        seed: the recipe's.
    """

    def __init__(self, stream: PromptStream[Prompt], size: int, seed: int, rule: Difficulty) -> None:
        self._stream = stream
        self._size = size
        self._seed = seed
        self._rule = rule
        self._step = 0
        self._rates: dict[int, Mapping[str, float]] = {}
        """Pass rates by prompt, by the number of steps that are done: before the last step, and after it."""
        self._places: dict[int, int] = {}
        """Where the walk is in the stream, by the number of prompts drawn: of the last step."""

    def begin(self, position: Position) -> None:
        """Be ready for the step after `position`."""
        self._step = position.step
        self._rates = {position.step: self._rates.get(position.step, {})}
        self._places = {position.prompts: self._places.get(position.prompts, position.prompts)}

    def batch(self, start: int, count: int) -> Sequence[Prompt]:
        """Return the next `count` prompts of the walk, which has drawn `start` prompts."""
        place = self._places[start]
        last = place + self._size  # a whole round since the last prompt of the range
        found: list[Prompt] = []
        while len(found) < count:
            for prompt in self._stream.batch(place, count - len(found)):
                if self._takes(prompt, place):
                    found.append(prompt)
                    last = place + self._size
                elif place >= last:
                    found.append(prompt)
                place += 1
        self._places[start + count] = place
        return found

    def observe(self, groups: Sequence[Group]) -> dict[str, float]:
        """Keep the pass rates of `groups`, and return how many prompts were passed over, and how many have a rate."""
        new = {group.prompt.id: rate for group in groups if (rate := _pass_rate(group)) is not None}
        rates = {**self._rates[self._step], **new}
        self._rates[self._step + 1] = rates
        walked = max(self._places.values()) - min(self._places.values())
        return {DIFFICULTY_PASSED_OVER.name: walked - len(groups), DIFFICULTY_KNOWN.name: len(rates) / self._size}

    def state(self, position: Position) -> SourceState | None:
        """Return the place in the stream and the pass rates."""
        place = self._places.get(position.prompts, position.prompts)
        return SourceState({"place": place, "rates": dict(self._rates.get(position.step, {}))}, {})

    def restore(self, position: Position, state: SourceState) -> None:
        """Continue at the place and with the rates of a checkpoint."""
        self._places = {position.prompts: state.plain["place"]}
        self._rates = {position.step: state.plain["rates"]}

    def _takes(self, prompt: Prompt, place: int) -> bool:
        rate = self._rates[self._step].get(prompt.id)
        if rate is None or self._rule.at_least <= rate <= self._rule.at_most:
            return True
        return bool(uniforms(self._seed, 1, "difficulty", place)[0] < self._rule.others)


def _pass_rate(group: Group) -> float | None:
    judged = [bool(verdict.passed) for verdict in group.verdicts if verdict.judged]
    return sum(judged) / len(judged) if judged else None
