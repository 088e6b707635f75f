"""Settings that would make a recipe fit, each tried by a separate plan, cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prerlkit.engines.engine import Reservation
from prerlkit.plan.plan import TRAINING, Plan, make_plan
from prerlkit.plan.traces import Traces
from prerlkit.recipe.schema import Recipe

_TRAINING = tuple(TRAINING)
_EVERYTHING = (*_TRAINING, "rollout", "evaluation", "load", "weight sync", "merge", "write adapter")


@dataclass(frozen=True, slots=True)
class Advice:
    """One change, or several together.

    Attributes:
        settings: `PATH=VALUE` as `--set` takes them.
        cost: what they cost.
        needed: bytes that the changed recipe needs.
    """

    settings: tuple[str, ...]
    cost: str
    needed: int
    fits: bool


@dataclass(frozen=True, slots=True)
class _Saving:
    path: str
    value: object
    cost: str
    phases: tuple[str, ...]


def advise(recipe: Recipe, plan: Plan, traces: Traces) -> list[Advice]:
    """Each change alone that helps, in order of cost; and where none is enough, the first ones together that are.

    Args:
        traces: what `plan` was made with; what a change leaves alone is not traced again.
    """
    limit = plan.device.memory
    over = {phase.name for phase in plan.phases if plan.needed_in(phase) > limit}
    if plan.engine.problem:
        over |= {"rollout", "weight sync"}
    chosen = [change for change in _changes(recipe, plan.engine) if over & set(change.phases)]
    found = []
    for change in chosen:
        changed = make_plan(_with(recipe, change), traces.config, plan.device, traces)
        if changed.needed < plan.needed or changed.fits:
            found.append(Advice((_words(change),), change.cost, changed.needed, changed.fits))
    if any(advice.fits for advice in found):
        return found
    together = recipe
    for count, change in enumerate(chosen, 1):
        together = _with(together, change)
        if count == 1:
            continue
        changed = make_plan(together, traces.config, plan.device, traces)
        if changed.fits:
            words = tuple(_words(change) for change in chosen[:count])
            return [*found, Advice(words, "all of their costs", changed.needed, fits=True)]
    return found


def _changes(recipe: Recipe, engine: Reservation) -> Iterator[_Saving]:
    """Every change that this recipe has not made already. Cheapest first, another experiment last."""
    memory, rollout, everything = recipe.memory, recipe.rollout, _EVERYTHING
    if memory.logits_chunk > 256:
        yield _Saving("memory.logits_chunk", 256, "nothing but rounding", _TRAINING)
    sampling = ("rollout", "evaluation", "weight sync")
    if rollout.max_sequences > 8:
        yield _Saving("rollout.max_sequences", max(8, rollout.max_sequences // 4), "slower rollouts", sampling)
    if engine.total:  # another copy on this device
        yield _Saving("rollout.engine", "hf", "much slower rollouts, no second copy of the weights", _EVERYTHING)
    if memory.microbatch_tokens > 1024:
        smaller = max(1024, memory.microbatch_tokens // 4)
        yield _Saving("memory.microbatch_tokens", smaller, "a little time, and rounding", _TRAINING)
    if not memory.gradient_checkpointing:
        yield _Saving("memory.gradient_checkpointing", True, "a third more time in training", _TRAINING)
    if any(stage.optimizer.name == "adamw" for stage in recipe.stages):
        yield _Saving("optimizer.name", "paged_adamw_8bit", "moments in 8 bit", everything)
    if recipe.model.quantization == "none":
        yield _Saving("model.quantization", "nf4", "4-bit weights: slower, a little accuracy", everything)
    if rollout.max_new_tokens > 512:
        half = rollout.max_new_tokens // 2
        yield _Saving("rollout.max_new_tokens", half, "another experiment: long answers are cut", everything)


def _words(change: _Saving) -> str:
    value = str(change.value).lower() if isinstance(change.value, bool) else str(change.value)
    return f"{change.path}={value}"


def _with(recipe: Recipe, change: _Saving) -> Recipe:
    """The recipe with one key changed, also where stages hold a copy of it."""
    section, key = change.path.split(".")
    data = recipe.model_dump(mode="json")
    data[section][key] = change.value
    for stage in data["stages"]:
        if section in stage:
            stage[section][key] = change.value
    return Recipe.model_validate(data)
