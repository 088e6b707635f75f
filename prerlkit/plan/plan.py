"""The plan: every phase of a run with its bytes, the tightest of them, and whether it fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from prerlkit.plan.device import Device
from prerlkit.plan.engines import ENGINE, IN_PROCESS, RESERVATIONS, Reservation
from prerlkit.plan.trace import HAND_OVER, Parts, Sizes, Traced, trace
from prerlkit.plan.tracker import EVALUATION, ROLLOUT
from prerlkit.recipe.schema import Recipe

LOAD, WRITE = "load", "write adapter"
_ORDER = (LOAD, "merge", HAND_OVER, ROLLOUT, EVALUATION, "log-probs", "backward", "optimizer", WRITE)
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


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

    @property
    def tightest(self) -> Phase:
        return max(self.phases, key=self.needed_in)

    def needed_in(self, phase: Phase) -> int:
        """Bytes that a phase takes here, with what the allocator and the process add."""
        engine = sum(size for kind, size in phase.by_kind.items() if kind in ENGINE)
        return self.device.needed(phase.total - engine) + engine

    @property
    def needed(self) -> int:
        """The same at the tightest phase."""
        return self.needed_in(self.tightest)

    @property
    def fits(self) -> bool:
        return self.needed <= self.device.memory and not self.engine.problem


TRAINING = frozenset({"log-probs", "backward", "optimizer"})
SAMPLING = frozenset({ROLLOUT, EVALUATION})


def make_plan(
    recipe: Recipe, config: str, device: Device, known: Plan | None = None, same: Collection[str] = ()
) -> Plan:
    """Trace `recipe` for the model of `config` and add what isn't traced: loading, other engines, the end.

    Args:
        known: a plan to take the phases of `same` from, untraced: those of TRAINING, or of SAMPLING.
    """
    engine = recipe.rollout.engine
    here = engine in IN_PROCESS
    parts = Parts(training=not TRAINING & set(same), rollouts=here and not SAMPLING & set(same), canary=not here)
    sizes, traced = trace(recipe, config, device.kind, parts)
    reserved = RESERVATIONS[engine](recipe, sizes, device)
    size = _BYTES[recipe.model.dtype]
    found = [
        Phase(LOAD, "", {"base weights": sizes.weight_bytes, "copies while loading": 2 * sizes.largest * size}, False)
    ]
    for stage in traced:
        resident = dict(stage.resident)
        if reserved.in_process:  # nothing is handed over
            found.append(Phase(HAND_OVER, stage.stage, resident, False))
        else:
            found.append(Phase(ROLLOUT, stage.stage, {**resident, **reserved.rollout}, False))
        for name, peak in stage.peaks.items():
            extra = reserved.rollout if name == HAND_OVER else {} if reserved.in_process else reserved.training
            found.append(Phase(name, stage.stage, {**peak.by_kind, **extra}))
    for phase in known.phases if known else ():
        if phase.name in TRAINING & set(same):
            own = {kind: size for kind, size in phase.by_kind.items() if kind not in ENGINE}
            found.append(replace(phase, by_kind={**own, **reserved.training}))
        elif phase.name in SAMPLING & set(same) and here:
            found.append(phase)
    found.append(Phase(WRITE, "", {**_resident(traced), "one layer in float32": 8 * sizes.largest}, False))
    worst = [max((p for p in found if p.name == name), key=lambda p: p.total, default=None) for name in _ORDER]
    return Plan(device, sizes, tuple(phase for phase in worst if phase), reserved)


def _resident(traced: list[Traced]) -> dict[str, int]:
    last = traced[-1].resident
    return {kind: size for kind, size in last.items() if kind in ("base weights", "adapters", "optimizer")}
