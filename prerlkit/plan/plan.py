"""The plan: every phase of a run with its bytes, the tightest of them, and whether it fits."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch

from prerlkit import onednn
from prerlkit.engines.engine import KINDS, Reservation, Shared
from prerlkit.engines.registry import engine_of
from prerlkit.plan.device import GIB, Device
from prerlkit.plan.trace import WEIGHT_SYNC, Sizes, Traced
from prerlkit.plan.traces import Traces
from prerlkit.plan.tracker import EVALUATION, ROLLOUT
from prerlkit.policy.frozen_linear import COPIES, gets_copies
from prerlkit.recipe.dtype import BYTES
from prerlkit.recipe.schema import Recipe

LOAD, WRITE = "load", "write adapter"
_PROCESS = 3 * GIB
"""Of the host's memory, for a process with torch and CUDA's libraries. An estimate, not run here."""
_ORDER = (LOAD, "merge", WEIGHT_SYNC, ROLLOUT, EVALUATION, "log-probs", "backward", "optimizer", WRITE)


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase at its worst stage.

    Attributes:
        by_kind: bytes by what they are.
        traced: from the run's own code; False: computed from sizes.
    """

    name: str
    stage: str
    by_kind: dict[str, int]
    traced: bool = True

    @property
    def total(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe needs on a device."""

    device: Device
    sizes: Sizes
    phases: tuple[Phase, ...]
    engine: Reservation
    in_process: bool
    copies: bool
    untraced: str = ""
    """Why all phases are computed by formula: the model can't be traced. "" where they are traced."""

    @property
    def tightest(self) -> Phase:
        return max(self.phases, key=self.needed_in)

    def needed_in(self, phase: Phase) -> int:
        """Bytes that a phase takes here, with what the allocator and the process add."""
        engine = sum(size for kind, size in phase.by_kind.items() if kind in KINDS)
        return self.device.needed(phase.total - engine) + engine

    @property
    def needed(self) -> int:
        """The same at the tightest phase."""
        return self.needed_in(self.tightest)

    @property
    def host_needed(self) -> int:
        """Bytes of the host's memory, where the device has separate memory: two processes, and what is pinned.

        A 4-bit base that the engine serves in 16 bit is unpacked into host memory before the engine starts: not at the
        same time as what is pinned.
        """
        if self.device.kind == "cpu":
            return 0
        processes = 1 + bool(self.engine.total)
        return processes * _PROCESS + max(self.engine.host, self.engine.unpacked)

    @property
    def fits(self) -> bool:
        return self.needed <= self.device.memory and not self.engine.problem


TRAINING = frozenset({"log-probs", "backward", "optimizer"})


def make_plan(recipe: Recipe, config: str, device: Device, traces: Traces | None = None) -> Plan:
    """Trace `recipe` for the model of `config` and add what isn't traced: loading, other engines, the end.

    Args:
        traces: of this config and kind of device, where several recipes are planned that have much in common.
    """
    engine = engine_of(recipe)
    traces = traces or Traces(config, device.kind)
    sizes, sampling = traces.sampling(recipe, here=engine.in_process)
    traced = [*traces.training(recipe), *sampling]
    free = device.memory - device.needed(sizes.weight_bytes)
    reserved = engine.reserve(recipe, Shared(sizes.config, sizes.dense_bytes, device.kind, device.memory, free))
    size = BYTES[recipe.model.dtype]
    found: dict[str, list[Phase]] = defaultdict(list)

    copies = _copies(recipe, sizes.dense_bytes) if device.kind == "cpu" else {}

    def add(name: str, stage: str, by_kind: dict[str, int], *, traced: bool) -> None:
        by_kind = by_kind if name == LOAD else {**by_kind, **copies}
        found[name].append(Phase(name, stage, by_kind, traced))

    add(LOAD, "", {"base weights": sizes.weight_bytes, "copies while loading": 2 * sizes.largest * size}, traced=False)
    for stage in sampling:
        if engine.in_process:  # no weights are synced
            add(WEIGHT_SYNC, stage.stage, dict(stage.resident), traced=False)
        else:
            add(ROLLOUT, stage.stage, {**stage.resident, **reserved.rollout}, traced=False)
    for stage in traced:
        for name, peak in stage.peaks.items():
            awake = name == WEIGHT_SYNC and engine.copies
            extra = reserved.rollout if awake else {} if engine.in_process else reserved.training
            add(name, stage.stage, {**peak.by_kind, **extra}, traced=not traces.untraced)
    add(WRITE, "", {**_resident(sampling), "one layer in float32": 8 * sizes.largest}, traced=False)
    worst = tuple(max(found[name], key=lambda p: p.total) for name in _ORDER if found[name])
    return Plan(device, sizes, worst, reserved, engine.in_process, engine.copies, traces.untraced)


def _copies(recipe: Recipe, dense_bytes: int) -> dict[str, int]:
    """Return the bytes of the weights' copies for oneDNN, by kind; empty where there are none."""
    plain = recipe.model.quantization == "none" and not recipe.memory.shard_base
    if not plain or getattr(torch, recipe.model.dtype) not in onednn.DTYPES or not gets_copies(dense_bytes):
        return {}
    return {"weights in oneDNN's layout": COPIES * dense_bytes}


def _resident(traced: list[Traced]) -> dict[str, int]:
    last = traced[-1].resident
    return {kind: size for kind, size in last.items() if kind in ("base weights", "adapters", "optimizer")}
