"""Dynamic sampling: draw further prompts until a step has its number of groups with signal (`rollout.refill`).

Source: DAPO, arXiv 2503.14476, section 3.2. A group has signal when its judged scores are not all equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from prerlkit.metrics.catalogue import REFILL_ATTEMPTS, REFILL_FILLED, REFILL_GROUPS
from prerlkit.probes.protocol import History
from prerlkit.recipe.rollout import Rollout
from prerlkit.train.metrics import has_signal
from prerlkit.train.sample_and_judge import RolloutBatch
from prerlkit.types import Group, Prompt


class Prompts(Protocol):
    """A source of prompts, such as a `PromptStream`."""

    def batch(self, start: int, count: int) -> Sequence[Prompt]:
        """Return prompts number start … start + count − 1."""
        ...


Sample = Callable[[Sequence[Prompt], int], RolloutBatch]
"""Sample and judge prompts; the number is the draw within the step, 0 for the first."""


def sample_groups(
    sample: Sample, stream: Prompts, start: int, rollout: Rollout
) -> tuple[tuple[Group, ...], RolloutBatch]:
    """Sample the groups of one step, and draw one further prompt for each group with signal that is missing.

    The result is a function of the stream's position: a resumed run and other numbers of processes draw the same.

    Args:
        start: position in the stream of the step's first prompt.
        rollout: `prompts_per_step` groups are wanted, in at most `refill` further draws.

    Returns:
        The groups to train on, `prompts_per_step` of them, and everything that was sampled. Where too few groups have
        signal, the first ones without fill the step up: the denominators are those of a step of this size.
    """
    wanted, attempts = rollout.prompts_per_step, 0
    drawn = sample(stream.batch(start, wanted), attempts)
    while attempts < rollout.refill and (missing := wanted - sum(map(has_signal, drawn.groups))):
        attempts += 1
        drawn = drawn + sample(stream.batch(start + len(drawn.groups), missing), attempts)
    return _first_with_signal(drawn.groups, wanted), drawn


def _first_with_signal(groups: Sequence[Group], wanted: int) -> tuple[Group, ...]:
    """Return `wanted` groups in the order in which they were drawn: those with signal, then the first ones without."""
    order = sorted(range(len(groups)), key=lambda i: not has_signal(groups[i]))
    return tuple(groups[i] for i in sorted(order[:wanted]))


def refill_metrics(groups: Sequence[Group], drawn: RolloutBatch, rollout: Rollout) -> dict[str, float]:
    """Return what refilling cost and reached in one step; nothing where it is off.

    Args:
        groups: those that are trained on.
        drawn: everything that was sampled.
    """
    if not rollout.refill:
        return {}
    return {
        REFILL_ATTEMPTS.name: drawn.draws - 1,
        REFILL_GROUPS.name: len(drawn.groups) - len(groups),
        REFILL_FILLED.name: sum(map(has_signal, groups)) / len(groups),
    }


def found_nothing(metrics: Mapping[str, float], stage: str, past: History) -> str | None:
    """Return a line on a refill that found no signal at all; None otherwise, and when the step before had it too.

    Args:
        past: (stage, metrics) of the run's steps before.
    """
    before = past[-1][1] if past and past[-1][0] == stage else {}
    if metrics.get(REFILL_FILLED.name) != 0 or before.get(REFILL_FILLED.name) == 0:
        return None
    return (
        f"rollout.refill: {metrics[REFILL_ATTEMPTS.name]:.0f} further draws gave {metrics[REFILL_GROUPS.name]:.0f} "
        "groups, and no group of the step has signal: all its scores are equal. The step continues with what it has. "
        "Choose prompts of another difficulty (data.pass_rate), a larger rollout.group_size, or look at the verifier"
    )
