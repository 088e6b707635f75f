"""Replay: a share of a step's groups comes from earlier steps of the same stage (`rollout.replay`).

Earlier policies sampled those groups. Their recorded log-probs give truncated importance weights
(`objective.loss.truncated_importance`). The idea is from ReMix (arXiv 2507.06892). ReMix also makes more updates per
rollout and constrains the policy to the base and to the previous policy; neither is done here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from prerlkit.metrics.catalogue import REPLAY_AGE, REPLAY_SHARE
from prerlkit.runs.checkpoint import SourceState
from prerlkit.train.metrics import has_signal
from prerlkit.types import Completion, Group, Prompt, Verdict

_TOKENS, _LOGPROBS = "tokens", "logprobs"


class ReplayBuffer:
    """Groups of a stage that may be replayed. The newest come first, and each is replayed once.

    A failed step is saved as it was at its start (`RunWriter.rescue`), so groups that it took stay until the next step.

    Args:
        prompts: the run's train prompts, to find those of a checkpoint's groups.
        max_age: steps after which a group is forgotten.
    """

    def __init__(self, prompts: Sequence[Prompt], max_age: int) -> None:
        self._prompts = prompts
        self._max_age = max_age
        self._recent: dict[int, tuple[Group, ...]] = {}
        """By the number of steps that are done: before the last step, and after it."""

    def newest(self, step: int, count: int) -> tuple[Group, ...]:
        """Return at most `count` groups for the step after `step` steps."""
        return self._recent.get(step, ())[:count]

    def remember(self, step: int, taken: int, sampled: Sequence[Group]) -> None:
        """Keep what the step after `step` steps sampled, groups with signal only, without the `taken` newest before."""
        before = self._recent.get(step, ())
        new = [_kept(group) for group in sampled if has_signal(group)]
        older = [replace(group, age=group.age + 1) for group in (*new, *before[taken:])]
        after = tuple(group for group in older if group.age <= self._max_age)
        self._recent = {step: before, step + 1: after}

    def state(self, step: int) -> SourceState:
        """Return the groups that may be replayed after `step` steps."""
        return pack(self._recent.get(step, ()))

    def restore(self, step: int, state: SourceState) -> None:
        """Continue with the groups of a checkpoint at `step` steps."""
        self._recent = {step: unpack(state, {prompt.id: prompt for prompt in self._prompts})}


def replay_metrics(replayed: Sequence[Group], groups: int) -> dict[str, float]:
    """Return how many of a step's groups are replayed, and how old they are."""
    ages = [group.age for group in replayed]
    return {REPLAY_SHARE.name: len(ages) / groups, REPLAY_AGE.name: sum(ages) / max(1, len(ages))}


def _kept(group: Group) -> Group:
    """Return a group with only what training needs: a resumed run then has the same groups as a straight run."""
    completions = tuple(replace(completion, text="") for completion in group.completions)
    return Group(group.prompt, completions, tuple(Verdict(v.score, v.passed) for v in group.verdicts), group.age)


def pack(groups: Sequence[Group]) -> SourceState:
    """Return groups as plain data and tensors: tokens, and log-probs in full precision."""
    completions = [completion for group in groups for completion in group.completions]
    plain = [
        {
            "prompt": group.prompt.id,
            "age": group.age,
            "completions": [[len(c.token_ids), c.truncated] for c in group.completions],
            "verdicts": [[verdict.score, verdict.passed] for verdict in group.verdicts],
        }
        for group in groups
    ]
    tensors = {
        _TOKENS: torch.tensor([x for c in completions for x in c.token_ids], dtype=torch.int32),
        _LOGPROBS: torch.tensor([x for c in completions for x in c.logprobs], dtype=torch.float64),
    }
    return SourceState({"groups": plain}, tensors)


def unpack(state: SourceState, prompts: Mapping[str, Prompt]) -> tuple[Group, ...]:
    """Return the groups that `pack` was given. `prompts`: those of the run by their ids."""
    ids, logprobs = (iter(state.tensors[name].tolist()) for name in (_TOKENS, _LOGPROBS))
    groups = []
    for plain in state.plain["groups"]:
        completions = tuple(
            Completion(_first(ids, length), "", _first(logprobs, length), truncated)
            for length, truncated in plain["completions"]
        )
        verdicts = tuple(Verdict(score, passed) for score, passed in plain["verdicts"])
        groups.append(Group(prompts[plain["prompt"]], completions, verdicts, plain["age"]))
    return tuple(groups)


def _first(values: Any, count: int) -> tuple[Any, ...]:
    return tuple(next(values) for _ in range(count))
