"""A run's own evaluation: held-out accuracy with its interval, greedy and from k samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prerlkit.evaluation import estimates
from prerlkit.evaluation.attempts import Attempt, Problem, from_groups
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.request import EvalSettings
from prerlkit.evaluation.result import EvalResult
from prerlkit.evaluation.thoughts import mean_counts
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Group, Prompt

NOTHING = Estimate(0.0, 0.0, 1.0)
"""Where not one verdict was to be had: the whole interval."""

SampleAndJudge = Callable[[Sequence[Prompt], Sampling], Sequence[Group]]
MeasureKl = Callable[[Sequence[Group], float], float | None]
"""From samples and the temperature that they were drawn at to the policy's KL, nats a token."""


def evaluate(
    sample_and_judge: SampleAndJudge,
    prompts: Sequence[Prompt],
    settings: EvalSettings,
    *,
    name: str,
    step: int,
    measure_kl: MeasureKl | None = None,
) -> EvalResult:
    """Evaluate the policy that `sample_and_judge` samples from on the first `settings.problems` of `prompts`.

    Args:
        measure_kl: called with the samples, if there are any; None where there is no stage to measure.
    """
    begun = time.perf_counter()
    chosen = prompts[: settings.problems or None]
    groups = {kind: sample_and_judge(chosen, sampling) for kind, sampling in settings.passes()}
    greedy, sampled = from_groups(groups.get("greedy", ())), from_groups(groups.get("sampled", ()))
    both = [*greedy, *sampled]
    attempts = [attempt for problem in both for attempt in problem.attempts]
    samples = [attempt for problem in sampled for attempt in problem.attempts]
    kl = measure_kl(groups["sampled"], settings.temperature) if measure_kl and settings.samples else None
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
        tokens_mean=_tokens_mean(attempts),
        samples=settings.samples,
        sample_tokens_mean=_tokens_mean(samples) if settings.samples else None,
        thoughts=mean_counts(attempt.text for attempt in samples or attempts),
        kl=kl,
        by_prompt=estimates.pass_values(greedy or sampled, 1),
    )


def _pass_at(problems: Sequence[Problem], k: int) -> Estimate:
    return estimates.mean(estimates.pass_values(problems, k)) or NOTHING


def _tokens_mean(attempts: Sequence[Attempt]) -> float:
    return sum(attempt.tokens for attempt in attempts) / max(1, len(attempts))
