"""Calls a run's probes at the steps that they are due in, before and after the update, and measures their time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prerlkit.metrics.catalogue import PROBE_SECONDS, PROBES_SECONDS
from prerlkit.policy.policy import Policy
from prerlkit.probes.protocol import History, Probe, ProbeInput, ProbeResult
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.train.distributed import World
from prerlkit.train.oom import TokenBudget, out_of_memory
from prerlkit.types import Group

Look = Callable[[ProbeInput], ProbeResult]
"""A probe's measurement, before the update or after it."""


@dataclass(frozen=True, slots=True)
class ProbeMetrics:
    """What the probes measured in a step: metrics with the probes' times, and details by the probe's name.

    `unfinished`: probes that want to see the step again after its update.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()


class ProbeRunner:
    """The probes of a run.

    The first process measures on the groups of all processes while the others wait. All have the same adapters.

    Args:
        on_message: called with a line when a probe runs out of memory.
    """

    def __init__(
        self, probes: Sequence[Probe], policy: Policy, memory: Memory, world: World, on_message: Callable[[str], None]
    ) -> None:
        self._probes = probes
        self._policy = policy
        self._memory = memory
        self._at_once = TokenBudget(memory.microbatch_tokens)
        self._world = world
        self._on_message = on_message
        self._waiting: dict[str, Look] = {}  # from one look at a step to the next, in the first process

    def measure(self, stage: Stage, step: int, groups: tuple[Group, ...], past: History) -> ProbeMetrics:
        """Measure with the probes that are due in `step` (from 0) of `stage`, before its update."""
        due = [probe for probe in self._probes if groups and step % probe.every == 0]
        if not due:
            return ProbeMetrics()
        looks = {probe.name: probe.measure for probe in due}
        return self._world.from_primary(lambda: self._look(looks, stage, groups, past))

    def finish(self, measured: ProbeMetrics, stage: Stage, groups: tuple[Group, ...], past: History) -> ProbeMetrics:
        """Return `measured` with the numbers of its probes after the update."""
        if not measured.unfinished:
            return measured
        later = self._world.from_primary(lambda: self._look(self._waiting, stage, groups, past))
        metrics = dict(measured.metrics)
        for name, value in later.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value  # times add up; nothing else is measured twice
        return ProbeMetrics(metrics, {**measured.details, **later.details})

    def _look(self, looks: Mapping[str, Look], stage: Stage, groups: tuple[Group, ...], past: History) -> ProbeMetrics:
        metrics: dict[str, float] = {}
        details: dict[str, Any] = {}
        waiting: dict[str, Look] = {}
        begun = time.perf_counter()
        for name, look in looks.items():
            before = time.perf_counter()
            reading = self._within_memory(name, look, stage, groups, past)
            metrics |= reading.metrics
            details |= {name: reading.details} if reading.details else {}
            waiting |= {name: reading.after} if reading.after else {}
            metrics[PROBE_SECONDS.of(name)] = time.perf_counter() - before
        metrics[PROBES_SECONDS.name] = time.perf_counter() - begun
        self._waiting = waiting
        return ProbeMetrics(metrics, details, tuple(waiting))

    def _within_memory(
        self, name: str, look: Look, stage: Stage, groups: tuple[Group, ...], past: History
    ) -> ProbeResult:
        """Measure; a probe that doesn't fit in memory tries half of the tokens at once, and is left out in the end."""
        longest = max((len(g.prompt.token_ids) + len(c.token_ids) for g in groups for c in g.completions), default=0)
        at_once, chunk = self._at_once, self._memory.logits_chunk

        def halved() -> None:
            self._on_message(f"probe {name} ran out of memory: {at_once.tokens} tokens at once from now on")

        try:
            return at_once.run_within(
                lambda: look(ProbeInput(self._policy, stage, groups, past, at_once.tokens, chunk)), longest, halved
            )
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        torch.cuda.empty_cache()
        self._on_message(f"probe {name}: no memory even for one sequence; nothing is measured in this step")
        return ProbeResult()
