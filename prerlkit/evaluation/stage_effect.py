"""What a stage did to the policy, from what a run has recorded: KL, and the evaluations at the stage's two ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prerlkit.evaluation.result import values_of
from prerlkit.metrics.catalogue import EVAL_KL, STAGE_KL

KlSource = Literal["held-out samples", "the last step's samples", ""]


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One figure of the evaluations before and after a stage; None where there is none."""

    before: float | None
    after: float | None

    @property
    def ratio(self) -> float | None:
        """after / before; None where one is missing or the divisor is 0."""
        return self.after / self.before if self.before and self.after is not None else None

    @property
    def difference(self) -> float | None:
        """after − before; None where one is missing."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class StageEffect:
    """What one finished stage did.

    Attributes:
        stage: its name.
        steps: how many it had.
        kl: of the policy after the stage to the policy before it, nats a token; None where it was not measured.
        kl_from: the completions that it was estimated on.
        samples: the k of avg@k in the evaluation after the stage; 0 without samples.
        changes: by the metric's name (`eval/thoughts/reflection`), what the evaluations before and after the stage
            have; empty where there is no evaluation after it.
    """

    stage: str
    steps: int
    kl: float | None = None
    kl_from: KlSource = ""
    samples: int = 0
    changes: Mapping[str, BeforeAfter] = field(default_factory=dict)

    def change(self, metric: str) -> BeforeAfter:
        """Return the change of one metric, of two None where it was not evaluated."""
        return self.changes.get(metric, BeforeAfter(None, None))

    def to_json(self) -> dict[str, Any]:
        """Return the content of `effect` in summary.json."""
        changes = {name: {"before": own.before, "after": own.after} for name, own in self.changes.items()}
        return {"kl": self.kl, "kl_from": self.kl_from, "samples": self.samples, "changes": changes}


def stage_effects(
    steps: Iterable[tuple[str, Mapping[str, Any]]], evaluations: Sequence[Mapping[str, Any]]
) -> tuple[StageEffect, ...]:
    """Return the effect of every finished stage, in order.

    It is a function of the recorded files alone: a run that was resumed gives what an uninterrupted one gives.

    Args:
        steps: (stage, metrics) of each step of the run, from its first.
        evaluations: as in evaluations.jsonl, in order.
    """
    own: dict[str, list[Mapping[str, Any]]] = {}
    for stage, metrics in steps:
        own.setdefault(stage, []).append(metrics)
    found, begin = [], 0
    for stage, lines in own.items():
        end = begin + len(lines)
        after = _at(evaluations, end, f"after {stage}")
        rollout_kl = lines[-1].get(STAGE_KL.name)
        if after is not None or rollout_kl is not None:  # else it is under way, or of an earlier version
            before = _at(evaluations, begin, "before", "after ")
            found.append(_effect(stage, len(lines), rollout_kl, before, after))
        begin = end
    return tuple(found)


def _at(evaluations: Sequence[Mapping[str, Any]], step: int, *names: str) -> Mapping[str, Any] | None:
    """The last evaluation after `step` steps with a name that begins so."""
    return next(
        (line for line in reversed(evaluations) if line["step"] == step and str(line["name"]).startswith(names)), None
    )


def _effect(
    stage: str,
    steps: int,
    rollout_kl: float | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> StageEffect:
    first, last = (values_of(line) if line else {} for line in (before, after))
    held_out_kl = last.pop(EVAL_KL.name, None)
    first.pop(EVAL_KL.name, None)
    kl, source = (rollout_kl, "the last step's samples") if held_out_kl is None else (held_out_kl, "held-out samples")
    names = dict.fromkeys((*last, *first)) if after else {}
    return StageEffect(
        stage,
        steps,
        kl,
        source if kl is not None else "",  # type: ignore[arg-type]
        int(after.get("samples", 0)) if after else 0,
        {name: BeforeAfter(first.get(name), last.get(name)) for name in names},
    )
