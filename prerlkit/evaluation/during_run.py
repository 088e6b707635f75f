"""A run's own evaluation: held-out accuracy with its interval, greedy and from k samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prerlkit.evaluation import estimates
from prerlkit.evaluation.attempts import Problem, from_groups
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.request import EvalSettings
from prerlkit.evaluation.result import EvalResult
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Group, Prompt

NOTHING = Estimate(0.0, 0.0, 1.0)
"""Where not one verdict was to be had: the whole interval."""

SampleAndJudge = Callable[[Sequence[Prompt], Sampling], Sequence[Group]]


def evaluate(
    sample_and_judge: SampleAndJudge, prompts: Sequence[Prompt], settings: EvalSettings, *, name: str, step: int
) -> EvalResult:
    """Evaluate the policy that `sample_and_judge` samples from on the first `settings.problems` of `prompts`."""
    begun = time.perf_counter()
    chosen = prompts[: settings.problems or None]
    groups = {kind: sample_and_judge(chosen, sampling) for kind, sampling in settings.passes()}
    greedy, sampled = from_groups(groups.get("greedy", ())), from_groups(groups.get("sampled", ()))
    both = [*greedy, *sampled]
    attempts = [attempt for problem in both for attempt in problem.attempts]
    return EvalResult(
        name=name,
        step=step,
        prompts=len(chosen),
        seconds=time.perf_counter() - begun,
        accuracy=(estimates.accuracy(greedy) or NOTHING) if settings.greedy else None,
        average=_pass_at(sampled, 1) if settings.samples else None,
        pass_at={k: _pass_at(sampled, k) for k in settings.pass_at},
        unjudged=estimates.share(both, lambda attempt: attempt.passed is None),
        truncated=estimates.share(both, lambda attempt: attempt.truncated),
        tokens_mean=sum(attempt.tokens for attempt in attempts) / max(1, len(attempts)),
        by_prompt=estimates.pass_values(greedy or sampled, 1),
    )


def _pass_at(problems: Sequence[Problem], k: int) -> Estimate:
    return estimates.mean(estimates.pass_values(problems, k)) or NOTHING
