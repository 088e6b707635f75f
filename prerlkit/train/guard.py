"""The guard of a stage: when its policy has collapsed, and which of its adapters was the last good one.

Pure functions of metrics.jsonl. A step's pass rate is that of the policy before the step's update: step 1 measures the
policy that the stage began with, step n the policy after n - 1 updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prerlkit.metrics.catalogue import PASS_RATE, UNJUDGED, ZERO_SIGNAL
from prerlkit.probes.protocol import History
from prerlkit.recipe.probes import Guard
from prerlkit.recipe.schema import Stage

_ERRORS = 1.5
"""Standard errors by which the pass rate must be below its bound. Ours."""
_SURPRISE = 2e-4
"""Probability below which a series of steps without signal is no chance any more. Ours."""

Steps = Sequence[Mapping[str, float]]
"""Metrics of a stage's steps, oldest first."""


def collapsed(stage: Stage, past: History) -> str:
    """Return why the guard of `stage` ends it after the steps in `past`, in words; "" where it doesn't."""
    if stage.guard is None or not (steps := _judged(stage, past)):
        return ""
    why = _fallen(stage, stage.guard, steps) or _without_signal(stage.guard, steps)
    if not why:
        return ""
    done = sum(name == stage.name for name, _ in past)
    good = last_good(stage, past)
    which = f"after step {good}" if good else "of the stage's start"
    return (
        f'stage "{stage.name}" is ended by its guard after {done} of {stage.steps} steps: {why}; the adapter {which} '
        "is restored"
    )


def is_good(stage: Stage, past: History) -> bool:
    """Return whether the last step in `past` shows that the policy which sampled it has not collapsed.

    The step's own pass rate, and the mean of its last `window` steps, are at least the guard's share of the start's;
    and a group has signal, or all completions pass.
    """
    if stage.guard is None or not (steps := _judged(stage, past)) or past[-1][1] is not steps[-1]:
        return False
    window = stage.guard.window
    bound = stage.guard.pass_rate * _rate(steps[:window])
    return _signal(steps[-1]) and steps[-1][PASS_RATE.name] >= bound and _rate(steps[-window:]) >= bound


def last_good(stage: Stage, past: History) -> int:
    """Return after how many of the stage's updates the last good adapter was taken; 0: at the stage's start."""
    own = [place for place, (name, _) in enumerate(past) if name == stage.name]
    found = [done for done, place in enumerate(own) if is_good(stage, past[: place + 1])]
    return found[-1] if found else 0


def _fallen(stage: Stage, guard: Guard, steps: Steps) -> str:
    """Compare the last w steps with the first w, for each w from the window up to half of the steps."""
    widest = len(steps) // 2
    pairs = zip(_sums(steps[:widest]), _sums(reversed(steps[-widest:])), strict=True) if widest else ()
    for width, ((judged_first, passed_first), (judged_last, passed_last)) in enumerate(pairs, 1):
        if width < guard.window:
            continue
        start, now = passed_first / judged_first, passed_last / judged_last
        bound = guard.pass_rate * start
        of_start = guard.pass_rate**2 * start * (1 - start) / _size(stage, judged_first)
        of_bound = bound * (1 - bound) / _size(stage, judged_last)
        if bound - now > _ERRORS * math.sqrt(of_start + of_bound):
            return f"{now:.1%} of the completions passed in its last {width} steps, {start:.1%} in its first {width}"
    return ""


def _without_signal(guard: Guard, steps: Steps) -> str:
    """Look at the steps since the last one in which a group had signal; there must have been one.

    Their number is compared with chance: a step has signal with probability (s + 1) / (n + 2), where s of the n steps
    before had signal.
    """
    last = max((place for place, step in enumerate(steps, 1) if _signal(step)), default=0)
    silent = len(steps) - last
    of_signal = (sum(map(_signal, steps)) + 1) / (last + 2)
    if not last or silent < guard.window or (1 - of_signal) ** silent >= _SURPRISE:
        return ""
    return f"no group had signal in its last {silent} steps"


def _judged(stage: Stage, past: History) -> list[Mapping[str, float]]:
    """Return the stage's steps, but for those without any verdict: they say nothing about the policy."""
    return [metrics for name, metrics in past if name == stage.name and metrics[UNJUDGED.name] < 1]


def _signal(step: Mapping[str, float]) -> bool:
    """Return whether a group has signal. A step in which all completions pass has lost nothing."""
    return step[ZERO_SIGNAL.name] < 1 or step[PASS_RATE.name] == 1


def _rate(steps: Steps) -> float:
    """Return the pass rate over all judged completions of `steps`."""
    *_, (judged, passed) = _sums(steps)
    return passed / judged


def _sums(steps: Iterable[Mapping[str, float]]) -> Iterable[tuple[float, float]]:
    """Return the judged and the passed shares of completions, summed up to each step."""
    shares = ((1 - step[UNJUDGED.name], (1 - step[UNJUDGED.name]) * step[PASS_RATE.name]) for step in steps)
    return accumulate(shares, lambda total, share: (total[0] + share[0], total[1] + share[1]))


def _size(stage: Stage, judged: float) -> float:
    """Return how many independent verdicts there are in steps whose judged shares sum to `judged`.

    Samples of one prompt are alike. We take their correlation as a half, so that a group of G counts for 2G/(G+1).
    """
    group = stage.rollout.group_size
    return judged * stage.rollout.prompts_per_step * 2 * group / (group + 1)
