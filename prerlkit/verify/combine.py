"""How the verdicts of several verifiers on one sample become one: a weighted mean or a product, behind gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, Protocol

from prerlkit.types import Verdict

Reward = Literal["weighted", "product"]
_TAKEN = ("mean", "pass_rate")  # `reward/mean` and `reward/pass_rate` are metrics of all verifiers together


class HasName(Protocol):
    """What a name for a use is made from."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Combination:
    """How one sample's verdicts become its reward. All tuples are in the verifiers' order.

    Attributes:
        labels: what each verifier is called in details, stats and metrics.
        weights: each one's share of the weighted mean.
        gates: whose failing makes the score 0. A gate's own score takes no part in the mean or product.
        reward: mean or product of the other scores; 1 where all verifiers are gates.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...]
    gates: tuple[bool, ...]
    reward: Reward = "weighted"

    def combine(self, verdicts: Sequence[Verdict]) -> Verdict:
        """One verdict: it passes when all pass, and is unjudged when any is, a failed gate notwithstanding.

        The verdict of a single verifier that is no gate stays as it is. Otherwise `details` keeps each one's score,
        reason and details under its label.
        """
        if len(verdicts) == 1 and not self.gates[0]:
            return verdicts[0]
        details = {
            label: {"score": verdict.score, "passed": verdict.passed, "reason": verdict.reason, **verdict.details}
            for label, verdict in zip(self.labels, verdicts, strict=True)
        }
        if not all(verdict.judged for verdict in verdicts):
            return Verdict.unjudged(self._reasons(verdicts, judged=False), **details)
        open_ = all(bool(v.passed) for v, gate in zip(verdicts, self.gates, strict=True) if gate)
        score = self._score(verdicts) if open_ else 0.0
        return Verdict(score, all(bool(v.passed) for v in verdicts), self._reasons(verdicts, judged=True), details)

    def _score(self, verdicts: Sequence[Verdict]) -> float:
        """Of the verifiers that are no gates."""
        pairs = [
            (weight, verdict.score)
            for verdict, weight, gate in zip(verdicts, self.weights, self.gates, strict=True)
            if not gate and verdict.score is not None
        ]
        if self.reward == "product" or not pairs:
            return math.prod(score for _, score in pairs)
        # Rounding may leave the mean a hair outside what its parts allow.
        return min(1.0, sum(weight * score for weight, score in pairs) / sum(weight for weight, _ in pairs))

    def _reasons(self, verdicts: Sequence[Verdict], judged: bool) -> str:
        return "; ".join(
            f"{label}: {verdict.reason}"
            for label, verdict in zip(self.labels, verdicts, strict=True)
            if verdict.judged == judged and verdict.reason
        )


def labels_of(uses: Sequence[HasName]) -> tuple[str, ...]:
    """A label for each use: the verifier's name, with `#2` and so on where it is used again.

    Of `path/to/file.py:function` it is the function, of `path/to/file.py` the file's stem.
    """
    seen = dict.fromkeys(_TAKEN, 1)
    labels = []
    for use in uses:
        path, _, last = use.name.rpartition(":")
        label = last if path else PurePath(use.name).stem if use.name.endswith(".py") else use.name
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label}#{seen[label]}")
    return tuple(labels)
