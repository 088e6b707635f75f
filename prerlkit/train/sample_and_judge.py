"""Sample completions for a batch of prompts and judge them; verdicts are made while the engine still samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from prerlkit.rollout.protocol import RolloutEngine, Sampling, WeightSync
from prerlkit.train.distributed import ALONE, World
from prerlkit.types import Completion, Group, Prompt, Verdict
from prerlkit.verify import VerifierInput


class Judge(Protocol):
    """The part of a verify runner that the loop needs."""

    def submit(self, sample: VerifierInput) -> Future[Verdict]:
        """Return the verdict to come; it never raises for a verifier's fault."""
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


def sample_and_judge(
    engine: RolloutEngine,
    judge: Judge,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    progress: Callable[[int, int], None] | None = None,
    world: World = ALONE,
) -> RolloutBatch:
    """Sample `sampling.samples` completions for each prompt and judge each as soon as it is finished.

    Args:
        progress: called with (completions finished, completions in all), of this process.
        world: each process takes its share of the prompts.

    Returns:
        The groups of all processes, in each of them; the times of the slowest process.
    """
    begun = time.perf_counter()
    sync = engine.sync_weights()
    global_prompts, prompts = prompts, world.share(prompts)
    total = len(prompts) * sampling.samples
    finished: dict[tuple[int, int], tuple[Completion, Future[Verdict]]] = {}
    for i, s, completion in engine.generate(prompts, sampling):
        finished[i, s] = completion, judge.submit(_verifier_input(prompts[i], completion))
        if progress:
            progress(len(finished), total)
    sampled = time.perf_counter()
    groups = []
    for i, prompt in enumerate(prompts):
        pairs = [finished[i, s] for s in range(sampling.samples)]
        verdicts = tuple(verdict.result() for _, verdict in pairs)
        groups.append(Group(prompt, tuple(completion for completion, _ in pairs), verdicts))
    parts = world.gather(RolloutBatch(tuple(groups), sampled - begun, time.perf_counter() - sampled, sync))
    return RolloutBatch(
        tuple(parts[i % world.size].groups[i // world.size] for i in range(len(global_prompts))),
        max(part.rollout_seconds for part in parts),
        max(part.verify_seconds for part in parts),
        sync,
    )


def _verifier_input(prompt: Prompt, completion: Completion) -> VerifierInput:
    return VerifierInput(
        prompt=prompt.text,
        completion=completion.text,
        answer=prompt.answer,
        row=prompt.row,
        truncated=completion.truncated,
        tokens=len(completion.token_ids),
    )
