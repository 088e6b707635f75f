"""Evaluation: held-out accuracy with its interval, greedy and from k samples, the same prompts and seeds each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prerlkit.evaluation import estimates
from prerlkit.evaluation.attempts import Problem, from_groups
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.result import EvalResult
from prerlkit.recipe.schema import Evaluation
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.train.distributed import ALONE, World
from prerlkit.train.sample_and_judge import Judge, sample_and_judge
from prerlkit.types import Group, Prompt

NOTHING = Estimate(0.0, 0.0, 1.0)
"""Where not one verdict was to be had: the whole interval."""


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
        greedy = sample_and_judge(engine, judge, chosen, Sampling(1, limit, None, seed), progress, world).groups
    if settings.samples:
        sampling = Sampling(settings.samples, limit, settings.temperature, seed)
        sampled = sample_and_judge(engine, judge, chosen, sampling, progress, world).groups
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
