"""Frozen types that the steps of training pass on: prompt, completion, verdict, group, step record.

Each arrow of the pipeline (docs/architecture.md) is one of these. They hold plain Python values, so that they
can cross a process boundary, be written as JSON, and be compared in a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, rendered and tokenized once.

    Attributes:
        id: stable name of the row within its source (`train/17`); what sampling seeds are derived from.
        text: the rendered text that the model sees, chat template included.
        token_ids: the tokens of `text`, exactly as every engine must use them.
        answer: the gold answer, or None where the data has none.
        row: the whole data row, for verifiers that need more than the answer.
    """

    id: str
    text: str
    token_ids: tuple[int, ...]
    answer: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer y, its end token included when it was sampled.

    Attributes:
        token_ids: y_1 … y_n as sampled.
        text: y as it was generated, without end tokens and padding; what verifiers judge.
        logprobs: log-prob of each token under the sampling distribution (nats), same length as `token_ids`.
        truncated: True when the token limit cut y before an end token.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's judgement, with three values: pass, fail and *unjudged*.

    Unjudged (`score is None`) means that the verifier crashed, ran out of time or could not read the gold answer. It
    is never the same as a score of 0: an unjudged sample leaves its group and the group's baseline.

    Attributes:
        score: reward in [0, 1], or None when unjudged.
        passed: whether the completion counts as right; None when unjudged.
        reason: a short human-readable why.
        details: anything worth keeping in samples.jsonl (parsed answer, scores of parts, …); JSON values only.
    """

    score: float | None
    passed: bool | None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return self.score is not None

    @classmethod
    def unjudged(cls, reason: str, **details: Any) -> Verdict:
        return cls(None, None, reason, details)

    @classmethod
    def of(cls, passed: bool, reason: str = "", **details: Any) -> Verdict:
        """A binary verdict: score 1 when passed, else 0."""
        return cls(1.0 if passed else 0.0, passed, reason, details)


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt with its G completions and their verdicts, in the same order.

    Attributes:
        age: steps since the policy sampled it; 0 for a group of this step, more for one that is replayed.
    """

    prompt: Prompt
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]
    age: int = 0


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step left behind: its metrics (docs/metrics.md defines every name) and the groups it came from.

    `details`: what probes found that is more than one number, by the probe's name.
    """

    step: int
    stage: str
    metrics: Mapping[str, float]
    groups: tuple[Group, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
