"""Sample completions for a batch of prompts and judge them while the engine still samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from prerlkit.rollout.protocol import RolloutEngine, Sampling, WeightSync
from prerlkit.train.callbacks import Interrupted, StopSignal
from prerlkit.train.distributed import ALONE, World
from prerlkit.types import Completion, Group, Prompt, Verdict
from prerlkit.verify import VerifierInput

_PATIENCE = 1.0
"""Seconds for the verdicts that are under way when a stop is requested."""


class SamplingInterrupted(Exception):  # noqa: N818 -- asked for by a person
    """A stop was requested while completions were sampled and judged. `groups`: those that were finished."""

    def __init__(self, groups: tuple[Group, ...]) -> None:
        super().__init__("stopped while sampling")
        self.groups = groups


class Judge(Protocol):
    """The part of a verify runner that the loop needs."""

    def submit(self, sample: VerifierInput) -> Future[Verdict]:
        """Return the verdict to come; it never raises for a verifier's fault."""
        ...

    def abandon(self) -> None:
        """Leave completions that are being judged unjudged, because the run stops."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """Judged groups, in the prompts' order, and the seconds that they took."""

    groups: tuple[Group, ...]
    rollout_seconds: float
    verify_seconds: float
    """Waiting for verdicts after the last completion. Verification that overlaps sampling is not counted."""
    sync: WeightSync = field(default_factory=WeightSync)
    """The sync of the policy's weights to the engine before the first completion, a part of `rollout_seconds`."""
    draws: int = 1
    """How many times prompts were drawn for these groups."""

    def __add__(self, other: RolloutBatch) -> RolloutBatch:
        """Return both, one after the other."""
        return RolloutBatch(
            self.groups + other.groups,
            self.rollout_seconds + other.rollout_seconds,
            self.verify_seconds + other.verify_seconds,
            self.sync + other.sync,
            self.draws + other.draws,
        )


def sample_and_judge(
    engine: RolloutEngine,
    judge: Judge,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    progress: Callable[[int, int], None] | None = None,
    world: World = ALONE,
    stop: StopSignal | None = None,
) -> RolloutBatch:
    """Sample `sampling.samples` completions for each prompt and judge each as soon as it is finished.

    Args:
        progress: called with (completions finished, completions in all), of this process.
        world: each process takes its share of the prompts.
        stop: a request ends the sampling at once.

    Returns:
        The groups of all processes, in each of them; the times of the slowest process.

    Raises:
        SamplingInterrupted: a stop was requested, in any process.
    """
    begun = time.perf_counter()
    sync = engine.sync_weights()
    global_prompts, prompts = prompts, world.share(prompts)
    total = len(prompts) * sampling.samples
    finished: dict[tuple[int, int], tuple[Completion, Future[Verdict]]] = {}
    sampled, interrupted = begun, False
    try:
        for i, s, completion in _interruptible(engine.generate(prompts, sampling), stop):
            finished[i, s] = completion, judge.submit(_verifier_input(prompts[i], completion))
            if progress:
                progress(len(finished), total)
        sampled = time.perf_counter()
        with stop.interrupting() if stop else nullcontext():
            for _, verdict in finished.values():
                verdict.result()
    except Interrupted:
        interrupted = True
        wait([verdict for _, verdict in finished.values()], _PATIENCE)
    groups = {
        i: _group(prompt, [finished[i, s] for s in range(sampling.samples)])
        for i, prompt in enumerate(prompts)
        if not interrupted or all((i, s) in finished and finished[i, s][1].done() for s in range(sampling.samples))
    }
    if interrupted:
        judge.abandon()
    part = RolloutBatch(tuple(groups.values()), sampled - begun, time.perf_counter() - sampled, sync)
    parts = world.gather((part, interrupted))
    if any(stopped for _, stopped in parts):
        raise SamplingInterrupted(tuple(group for other, _ in parts for group in other.groups))
    return RolloutBatch(
        tuple(parts[i % world.size][0].groups[i // world.size] for i in range(len(global_prompts))),
        max(other.rollout_seconds for other, _ in parts),
        max(other.verify_seconds for other, _ in parts),
        sync,
    )


def _interruptible(
    completions: Iterator[tuple[int, int, Completion]], stop: StopSignal | None
) -> Iterator[tuple[int, int, Completion]]:
    """Yield the completions; only the wait for the next one may be interrupted, not what is done with it."""
    if stop is None:
        yield from completions
        return
    while True:
        with stop.interrupting():
            following = next(completions, None)
        if following is None:
            return
        yield following


def _group(prompt: Prompt, pairs: Sequence[tuple[Completion, Future[Verdict]]]) -> Group:
    return Group(prompt, tuple(c for c, _ in pairs), tuple(verdict.result() for _, verdict in pairs))


def _verifier_input(prompt: Prompt, completion: Completion) -> VerifierInput:
    return VerifierInput(
        prompt=prompt.text,
        completion=completion.text,
        answer=prompt.answer,
        row=prompt.row,
        truncated=completion.truncated,
        tokens=len(completion.token_ids),
    )
