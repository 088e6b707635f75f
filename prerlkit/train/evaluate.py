"""Evaluation: held-out accuracy with its interval, greedy and from k samples, the same prompts and seeds each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prerlkit.evaluation import estimates
from prerlkit.evaluation.attempts import Problem, from_groups
from prerlkit.evaluation.estimates import Estimate
from prerlkit.recipe.schema import Evaluation
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.train.collect import Judge, collect
from prerlkit.train.distributed import ALONE, World
from prerlkit.types import Group, Prompt

NOTHING = Estimate(0.0, 0.0, 1.0)
"""Where not one verdict was to be had: the whole interval."""


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
        by_prompt: of each judged prompt, by its id, what `score` is the mean of; two runs are compared on it.
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
    by_prompt: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """What evaluations are compared by: greedy accuracy, without it avg@k."""
        best = self.accuracy or self.average
        return best.value if best else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def totals(self) -> dict[str, Any]:
        """As `to_json`, without the single prompts."""
        return {key: value for key, value in self.to_json().items() if key != "by_prompt"}

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
    world: World = ALONE,
) -> tuple[EvalResult, list[Group]]:
    """Evaluate the policy that `engine` holds on the first `settings.prompts` of `prompts`, shared by processes.

    Returns:
        The result, and every judged group (greedy ones first).
    """
    begun = time.perf_counter()
    chosen = prompts[: settings.prompts]
    limit = settings.max_new_tokens or max_new_tokens
    greedy: Sequence[Group] = ()
    sampled: Sequence[Group] = ()
    if settings.greedy:
        greedy = collect(engine, judge, chosen, Sampling(1, limit, None, seed), progress, world).groups
    if settings.samples:
        sampling = Sampling(settings.samples, limit, settings.temperature, seed)
        sampled = collect(engine, judge, chosen, sampling, progress, world).groups
    one, many = from_groups(greedy), from_groups(sampled)
    both = [*one, *many]
    attempts = [attempt for problem in both for attempt in problem.attempts]
    result = EvalResult(
        name=name,
        step=step,
        prompts=len(chosen),
        seconds=time.perf_counter() - begun,
        accuracy=(estimates.accuracy(one) or NOTHING) if settings.greedy else None,
        average=_pass_at(many, 1) if settings.samples else None,
        pass_at={k: _pass_at(many, k) for k in settings.pass_at} if settings.samples else {},
        unjudged=estimates.share(both, lambda attempt: attempt.passed is None),
        truncated=estimates.share(both, lambda attempt: attempt.truncated),
        tokens_mean=sum(attempt.tokens for attempt in attempts) / max(1, len(attempts)),
        by_prompt=estimates.pass_values(one or many, 1),
    )
    return result, [*greedy, *sampled]


def _pass_at(problems: Sequence[Problem], k: int) -> Estimate:
    return estimates.mean(estimates.pass_values(problems, k)) or NOTHING
