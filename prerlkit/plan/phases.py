"""One step and one rollout under a tracker, each byte in the phase that holds it, traced or measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from prerlkit.plan.tracker import ROLLOUT, MemoryTracker, Peak
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.train.stage import update_policy
from prerlkit.train.step import Updater
from prerlkit.types import Group, Prompt

LOGPROBS, BACKWARD, STEP = "log-probs", "backward", "optimizer"


class Enough(Exception):  # noqa: N818 -- the rollout has shown what it holds
    """Raised from within a rollout that is only watched for a few forward passes."""


@contextmanager
def _naming_backward(tracker: MemoryTracker) -> Iterator[None]:
    """Name the phase while `Tensor.backward` runs."""
    backward = Tensor.backward

    def named(self: Tensor, *args: Any, **options: Any) -> None:
        before, tracker.phase = tracker.phase, BACKWARD
        try:
            backward(self, *args, **options)
        finally:
            tracker.phase = before

    with patch.object(Tensor, "backward", named):
        yield


def train(tracker: MemoryTracker, updater: Updater, groups: Sequence[Group]) -> dict[str, Peak]:
    """Do one update and give the peaks of its phases."""

    def enter(*_: Any) -> None:
        tracker.phase = STEP

    def leave(*_: Any) -> None:
        tracker.phase = LOGPROBS

    hooks = [
        updater.optimizer.register_step_pre_hook(enter),
        updater.optimizer.register_step_post_hook(leave),
    ]
    try:
        with watching(tracker, LOGPROBS), _naming_backward(tracker):
            update_policy(updater, groups, updater.stage.learning_rate)
        return dict(tracker.peaks)
    finally:
        for hook in hooks:
            hook.remove()


def roll_out(
    tracker: MemoryTracker,
    base: nn.Module,
    engine: RolloutEngine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    phase: str = ROLLOUT,
    forwards: int | None = None,
    skip: int = 0,
) -> Peak:
    """The peak of a rollout.

    Args:
        phase: what its bytes are counted under.
        forwards: stop after so many passes through `base`; None goes to the end.
        skip: forget the peak of so many first passes.
    """
    passes = 0

    def before(*_: Any) -> None:
        nonlocal passes
        if passes == forwards:
            raise Enough
        if passes == skip:
            tracker.peaks.clear()
        passes += 1

    hook = base.get_decoder().register_forward_pre_hook(before)  # type: ignore[operator]
    try:
        with watching(tracker, phase):
            for _ in engine.generate(prompts, sampling):
                pass
    except Enough:
        pass
    finally:
        hook.remove()
    return tracker.peaks[phase]


@contextmanager
def watching(tracker: MemoryTracker, phase: str) -> Iterator[None]:
    """Count in `phase`, from nothing."""
    tracker.peaks.clear()
    tracker.phase = phase
    try:
        with tracker:
            yield
    finally:
        tracker.phase = ""


def weights(base: nn.Module) -> Iterator[Tensor]:
    """Every tensor that holds the model: parameters, buffers, and what bitsandbytes keeps with packed weights."""
    for tensor in (*base.parameters(), *base.buffers()):
        yield tensor.data
    for module in base.modules():
        yield from packed_statistics(module)


def packed_statistics(module: nn.Module) -> Iterator[Tensor]:
    """Scales of a quantized layer."""
    weight: Any = getattr(module, "weight", None)
    if type(module).__name__ == "Linear4bit":
        state = weight.quant_state
        yield from (state.absmax, state.code)
        if state.nested:
            yield from (state.offset, state.state2.absmax, state.state2.code)
    elif type(module).__name__ == "Linear8bitLt":
        inner: Any = module.state
        yield from (t for t in (weight.SCB, inner.SCB, weight.CB, inner.CB) if t is not None)


def optimizer_state(optimizer: torch.optim.Optimizer) -> Iterable[Tensor]:
    """Moments and their statistics."""
    return [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
