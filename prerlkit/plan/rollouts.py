"""Rollouts in this process at their worst: prompts that enter, rows that join late ones, the cache at its longest.

A trace needs a few passes through the model; a measurement draws every token. Nothing ends a sample early here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prerlkit.evaluation.request import EvalSettings
from prerlkit.plan import worst_case
from prerlkit.plan.phases import roll_out, watching
from prerlkit.plan.tracker import EVALUATION, ROLLOUT, MemoryTracker, Peak
from prerlkit.policy.policy import Policy
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.cache import NewCache, room_for
from prerlkit.rollout.decode import Batch, PromptGroup, logits_by_head, logits_by_model
from prerlkit.rollout.generate import CACHE_ERRORS, CACHES
from prerlkit.rollout.hf import ADMIT_AT, HfEngine
from prerlkit.rollout.linears import FusedLora
from prerlkit.rollout.protocol import Sampling

_TRACED_PASSES = 2
"""Passes that show the beginning, or the end: prompts, and the token at which the cache grows."""


class _NoText:
    """The tokenizer of completions without values."""

    pad_token_id = None

    def decode(self, *_: Any, **__: Any) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine is asked for at once.

    Attributes:
        phase: `rollout` or `evaluation`.
        prompts: how many, each of `width` tokens.
        limit: completions decoded together.
    """

    phase: str
    prompts: int
    width: int
    limit: int
    sampling: Sampling

    @property
    def drawn(self) -> int:
        """Samples of one prompt that enter together."""
        return min(self.sampling.samples, self.limit)

    @property
    def together(self) -> int:
        """Prompts that are decoded together."""
        return min(self.prompts, max(1, self.limit // self.drawn))

    @property
    def entering(self) -> int:
        """Prompts that enter among others as soon as there is room; 0 where none waits, or none fits next to others."""
        needed = max(1, -(-int(ADMIT_AT * self.limit) // self.drawn))
        waits = self.prompts * self.sampling.samples > self.limit
        return needed if waits and needed < self.together else 0


def loads(recipe: Recipe, stage: Stage) -> Iterator[Load]:
    """The stage's rollouts, none in a supervised one, and the evaluations around it."""
    rollout, evaluation = stage.rollout, recipe.evaluation
    width, limit = rollout.max_prompt_tokens, rollout.max_sequences
    new, cut = rollout.max_new_tokens, (rollout.top_p, rollout.top_k)
    sampling = Sampling(rollout.group_size, new, rollout.temperature, 0, *cut)
    if stage.demonstrations is None:
        yield Load(ROLLOUT, rollout.prompts_per_step, width, limit, sampling)
    if not (evaluation.when or evaluation.every):
        return
    for _, drawn in EvalSettings.of_run(recipe).passes():
        yield Load(EVALUATION, evaluation.prompts, width, limit, drawn)


def on_shapes(tracker: MemoryTracker, policy: Policy, load: Load) -> tuple[Peak, int]:
    """The peak of `load` from few passes, and how many operations one of them is.

    The cache is the one that the engine will choose: one that the model can't decode with leaves it to the next.
    """
    try:
        return _traced(tracker, policy, load, CACHES[0])
    except CACHE_ERRORS:
        return _traced(tracker, policy, load, CACHES[1])


def _traced(tracker: MemoryTracker, policy: Policy, load: Load, new_cache: NewCache) -> tuple[Peak, int]:
    before = tracker.operations
    first = _generate(tracker, policy, load, load.together, load.width, new_cache, forwards=_TRACED_PASSES)
    operations = (tracker.operations - before) // _TRACED_PASSES
    if new_cache is not CACHES[0]:  # no rows join, and the cache grows with every token
        width = load.width + max(0, load.sampling.max_new_tokens - 2)
        last = _generate(tracker, policy, load, load.together, width, new_cache, forwards=_TRACED_PASSES, skip=1)
        return max(first, last, key=lambda peak: peak.total), operations
    if load.entering:
        return max(first, _join(tracker, policy, load), key=lambda peak: peak.total), operations
    room = room_for(load.sampling.max_new_tokens)
    grown = max(0, load.sampling.max_new_tokens - 2) // room * room  # the column at which the cache grows last
    if not grown:
        return first, operations
    width = load.width + grown
    last = _generate(tracker, policy, load, load.together, width, new_cache, forwards=_TRACED_PASSES, skip=1)
    return max(first, last, key=lambda peak: peak.total), operations


def measured(tracker: MemoryTracker, policy: Policy, load: Load) -> Peak:
    """The same with every token drawn: all that decodes together, and what comes after it."""
    whole = _generate(tracker, policy, load, min(load.prompts, 2 * load.together), load.width)
    return max(whole, _join(tracker, policy, load), key=lambda peak: peak.total) if load.entering else whole


def _generate(
    tracker: MemoryTracker,
    policy: Policy,
    load: Load,
    prompts: int,
    width: int,
    new_cache: NewCache = CACHES[0],
    **watched: int,
) -> Peak:
    engine = HfEngine(policy.base, _NoText(), (), load.limit, plain_head=policy.plain_head, new_cache=new_cache)
    asked = worst_case.prompts(prompts, width)
    return roll_out(tracker, policy.base, engine, asked, load.sampling, phase=load.phase, **watched)


def _join(tracker: MemoryTracker, policy: Policy, load: Load) -> Peak:
    """Rows with one token to go, prompts that enter among them, and the pass in which all of them grow."""
    late = max(load.width, load.width + load.sampling.max_new_tokens - 3)
    sampling = replace(load.sampling, max_new_tokens=max(4, load.sampling.max_new_tokens))
    next_logits = logits_by_head if policy.plain_head else logits_by_model
    policy.base.eval()
    batch = Batch(policy.base, next_logits, sampling, ())
    with watching(tracker, load.phase), FusedLora(policy.base).sampling():
        batch.step(_units(load, load.together - load.entering, late))
        tracker.peaks.clear()
        batch.step(_units(load, load.entering, load.width))
        batch.step([])
    return tracker.peaks[load.phase]


def _units(load: Load, count: int, width: int) -> Sequence[PromptGroup]:
    return [PromptGroup(i, prompt, range(load.drawn)) for i, prompt in enumerate(worst_case.prompts(count, width))]
