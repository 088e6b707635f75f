"""Evaluation: held-out accuracy with its interval, greedy and from k samples, the same prompts and seeds each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prerlkit.recipe.schema import Evaluation
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.train.collect import Judge, collect
from prerlkit.train.statistics import bootstrap_mean, pass_at_k, wilson
from prerlkit.types import Group, Prompt


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One evaluation.

    Attributes:
        name: when it was: `before`, `after <stage>`, or `step <n>`.
        step: global steps done by then.
        accuracy: of the greedy answers, over judged prompts (Wilson interval); None when not asked for.
        average: avg@k, the mean pass rate of the samples (bootstrap over prompts).
        pass_at: pass@k for each k asked for (bootstrap over prompts).
        unjudged, truncated: shares of all completions.
        tokens_mean: mean length of a completion, tokens.
    """

    name: str
    step: int
    prompts: int
    seconds: float
    accuracy: Estimate | None = None
    average: Estimate | None = None
    pass_at: Mapping[int, Estimate] = field(default_factory=dict)
    unjudged: float = 0.0
    truncated: float = 0.0
    tokens_mean: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvalResult:
        values = dict(data)
        for key in ("accuracy", "average"):
            values[key] = Estimate(**values[key]) if values[key] else None
        values["pass_at"] = {int(k): Estimate(**v) for k, v in values["pass_at"].items()}
        return cls(**values)


def evaluate(
    engine: RolloutEngine,
    judge: Judge,
    prompts: Sequence[Prompt],
    settings: Evaluation,
    *,
    name: str,
    step: int,
    seed: int,
    max_new_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EvalResult, list[Group]]:
    """Evaluate the policy that `engine` holds on the first `settings.prompts` of `prompts`.

    Returns:
        The result, and every judged group (greedy ones first).
    """
    begun = time.perf_counter()
    chosen = prompts[: settings.prompts]
    limit = settings.max_new_tokens or max_new_tokens
    greedy: Sequence[Group] = ()
    sampled: Sequence[Group] = ()
    if settings.greedy:
        greedy = collect(engine, judge, chosen, Sampling(1, limit, None, seed), progress).groups
    if settings.samples:
        sampling = Sampling(settings.samples, limit, settings.temperature, seed)
        sampled = collect(engine, judge, chosen, sampling, progress).groups
    groups = [*greedy, *sampled]
    completions = [c for g in groups for c in g.completions]
    verdicts = [v for g in groups for v in g.verdicts]
    count = max(1, len(completions))
    result = EvalResult(
        name=name,
        step=step,
        prompts=len(chosen),
        seconds=time.perf_counter() - begun,
        accuracy=_greedy_accuracy(greedy) if settings.greedy else None,
        average=_over_prompts(sampled, 1) if settings.samples else None,
        pass_at={k: _over_prompts(sampled, k) for k in settings.pass_at} if settings.samples else {},
        unjudged=sum(not v.judged for v in verdicts) / count,
        truncated=sum(c.truncated for c in completions) / count,
        tokens_mean=sum(len(c.token_ids) for c in completions) / count,
    )
    return result, groups


def _greedy_accuracy(groups: Sequence[Group]) -> Estimate:
    judged = [bool(g.verdicts[0].passed) for g in groups if g.verdicts[0].judged]
    passed = sum(judged)
    return Estimate(passed / len(judged) if judged else 0.0, *wilson(passed, len(judged)))


def _over_prompts(groups: Sequence[Group], k: int) -> Estimate:
    """pass@k over prompts; a prompt with fewer than k judged samples can't say and is left out."""
    values = []
    for group in groups:
        judged = [bool(v.passed) for v in group.verdicts if v.judged]
        if len(judged) >= k:
            values.append(pass_at_k(len(judged), sum(judged), k))
    return Estimate(sum(values) / len(values) if values else 0.0, *bootstrap_mean(values))
