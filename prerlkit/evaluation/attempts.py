"""One completion as an evaluation sees it, and one problem with all of them: what every estimate is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prerlkit.types import Completion, Group, Verdict


@dataclass(frozen=True, slots=True)
class Attempt:
    """One judged completion.

    Attributes:
        passed: None when unjudged, which is never the same as wrong.
        tokens: its length.
        truncated: cut by the token limit.
        text: what was written.
        answer: the answer that the verifier extracted, where it reports one.
    """

    passed: bool | None
    tokens: int
    truncated: bool
    text: str = ""
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One prompt's attempts, of one kind (greedy or sampled)."""

    id: str
    attempts: tuple[Attempt, ...]

    @property
    def judged(self) -> list[bool]:
        """Pass or fail of the judged attempts."""
        return [attempt.passed for attempt in self.attempts if attempt.passed is not None]


def from_groups(groups: Sequence[Group]) -> list[Problem]:
    """Judged groups as problems."""
    return [Problem(group.prompt.id, tuple(map(_attempt, group.completions, group.verdicts))) for group in groups]


def _attempt(completion: Completion, verdict: Verdict) -> Attempt:
    return Attempt(verdict.passed, len(completion.token_ids), completion.truncated, completion.text, found(verdict))


def found(verdict: Verdict) -> str | None:
    """The answer that a verifier found (`details.answer`), also one of several verifiers; None where none says."""
    parts: list[Mapping[str, Any]] = [verdict.details]
    parts += [part for part in verdict.details.values() if isinstance(part, Mapping)]
    return next((part["answer"] for part in parts if isinstance(part.get("answer"), str)), None)
