"""Sources of a step's sequences: the protocol, a source that samples them, and a source of demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from prerlkit.data.stream import PromptStream
from prerlkit.probes.protocol import History
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.rollout.protocol import RolloutEngine, Sampling
from prerlkit.runs.checkpoint import Position, SourceState
from prerlkit.seeds import derive
from prerlkit.train.callbacks import Callback
from prerlkit.train.distributed import World
from prerlkit.train.metrics import rollout_metrics
from prerlkit.train.prepare import Prepared
from prerlkit.train.prompt_order import ByPassRate, InTurn, PromptOrder
from prerlkit.train.refill import Sample, found_nothing, refill_metrics, sample_groups
from prerlkit.train.replay import ReplayBuffer, replay_metrics
from prerlkit.train.sample_and_judge import Judge, RolloutBatch, sample_and_judge
from prerlkit.types import Group, Prompt


@dataclass(frozen=True, slots=True)
class StepData:
    """The sequences of one step, the same in every process.

    Attributes:
        groups: those to train on.
        sampled: those of them that the current policy sampled. Probes, the stage's KL and samples.jsonl use these.
        metrics: measured on what was sampled.
        prompts: how many prompts were taken from the run's stream.
        seconds: that it took to sample and judge.
    """

    groups: tuple[Group, ...]
    sampled: tuple[Group, ...]
    metrics: Mapping[str, float]
    prompts: int
    seconds: float


class StepSource(Protocol):
    """Where the sequences of a stage's steps come from; chosen once for each stage, when the run is built."""

    def take(self, stage: Stage, position: Position, past: History) -> StepData:
        """Return the data of the step after `position`: a function of the position and the policy alone.

        Args:
            past: (stage, metrics) of the run's steps before.
        """
        ...

    def state(self, position: Position) -> SourceState | None:
        """Return what a checkpoint of `position` must keep of earlier steps; None where nothing is kept."""
        ...

    def restore(self, position: Position, state: SourceState) -> None:
        """Continue with what a checkpoint of `position` kept."""
        ...


class RolloutSource:
    """Samples the step's prompts with the current policy and judges the completions."""

    def __init__(
        self,
        recipe: Recipe,
        engine: RolloutEngine,
        judge: Judge,
        order: PromptOrder,
        callback: Callback,
        world: World,
    ) -> None:
        self._recipe = recipe
        self._engine = engine
        self._judge = judge
        self._order = order
        self._callback = callback
        self._world = world

    def take(self, stage: Stage, position: Position, past: History) -> StepData:
        """Sample and judge the groups of a step; see `StepSource`."""
        self._order.begin(position)
        groups, drawn = sample_groups(self._sampler(stage, position), self._order, position.prompts, stage.rollout)
        metrics = {
            **self._order.observe(drawn.groups),
            **rollout_metrics(drawn, self._recipe.verifiers),
            **refill_metrics(groups, drawn, stage.rollout),
        }
        if line := found_nothing(metrics, stage.name, past):
            self._callback.on_message(line)
        return StepData(groups, groups, metrics, len(drawn.groups), drawn.rollout_seconds + drawn.verify_seconds)

    def state(self, position: Position) -> SourceState | None:
        """Return what decides the next prompts; None where that is the position alone."""
        return self._order.state(position)

    def restore(self, position: Position, state: SourceState) -> None:
        """Continue at the prompts that follow `position`."""
        self._order.restore(position, state)

    def _sampler(self, stage: Stage, position: Position) -> Sample:
        """Return a function that samples the step's prompts. A prompt drawn twice in a step has other samples."""

        def sample(prompts_P: Sequence[Prompt], draw: int) -> RolloutBatch:
            place = (position.step, draw) if draw else (position.step,)
            return sample_and_judge(
                self._engine,
                self._judge,
                prompts_P,
                _sampling(stage, derive(self._recipe.seed, "rollout", *place)),
                lambda done, n: self._callback.progress("rollout", done, n),
                self._world,
            )

        return sample


_INNER = "inner"
"""Key of the inner source's values in those of `ReplaySource`. It keeps no tensors."""


class ReplaySource:
    """Takes groups from another source and adds earlier ones. Each stage has its own object, which begins empty.

    Args:
        inner: samples the groups that are not replayed.
        buffer: of the stage.
    """

    def __init__(self, inner: StepSource, buffer: ReplayBuffer) -> None:
        self._inner = inner
        self._buffer = buffer

    def take(self, stage: Stage, position: Position, past: History) -> StepData:
        """Return the newest earlier groups, and as many new ones as the step lacks; see `StepSource`."""
        replayed = self._buffer.newest(position.step, stage.rollout.replayed)
        missing = stage.rollout.prompts_per_step - len(replayed)
        smaller = stage.rollout.model_copy(update={"prompts_per_step": missing})
        data = self._inner.take(stage.model_copy(update={"rollout": smaller}), position, past)
        self._buffer.remember(position.step, len(replayed), data.sampled)
        groups = (*data.groups, *replayed)
        return replace(data, groups=groups, metrics={**data.metrics, **replay_metrics(replayed, len(groups))})

    def state(self, position: Position) -> SourceState | None:
        """Return the groups that may be replayed after `position`, and what the inner source keeps."""
        own, inner = self._buffer.state(position.step), self._inner.state(position)
        return own if inner is None else SourceState({**own.plain, _INNER: dict(inner.plain)}, own.tensors)

    def restore(self, position: Position, state: SourceState) -> None:
        """Continue with the groups of a checkpoint of `position`."""
        self._buffer.restore(position.step, state)
        if _INNER in state.plain:
            self._inner.restore(position, SourceState(state.plain[_INNER], {}))


class DemonstrationSource:
    """Takes the next demonstrations of a supervised stage. Nothing is sampled or measured.

    The position in the stream of prompts stays: later stages get the prompts that they would get without this stage.
    """

    def __init__(self, stream: PromptStream[Group]) -> None:
        self._stream = stream

    def take(self, stage: Stage, position: Position, past: History) -> StepData:
        """Return the stage's next `prompts_per_step` demonstrations; see `StepSource`."""
        count = stage.rollout.prompts_per_step
        return StepData(tuple(self._stream.batch(position.stage_step * count, count)), (), {}, prompts=0, seconds=0.0)

    def state(self, position: Position) -> SourceState | None:
        """Return None: each step is a function of its position."""
        return None

    def restore(self, position: Position, state: SourceState) -> None:
        """Do nothing."""


def make_sources(
    recipe: Recipe, prepared: Prepared, engine: RolloutEngine, judge: Judge, callback: Callback, world: World
) -> dict[str, StepSource]:
    """Return the source of each stage, by the stage's name."""
    prompts, sources = prepared.prompts.train, dict[str, StepSource]()
    stream = PromptStream(prompts, recipe.seed, recipe.data.shuffle)
    for stage in recipe.stages:
        difficulty, replay = stage.rollout.difficulty, stage.rollout.replay
        order = ByPassRate(stream, len(prompts), recipe.seed, difficulty) if difficulty else InTurn(stream)
        sources[stage.name] = RolloutSource(recipe, engine, judge, order, callback, world)
        if replay:
            sources[stage.name] = ReplaySource(sources[stage.name], ReplayBuffer(prompts, replay.max_age))
    for name, groups in prepared.demonstrations.items():
        sources[name] = DemonstrationSource(PromptStream(groups, recipe.seed, recipe.data.shuffle))
    return sources


def _sampling(stage: Stage, seed: int) -> Sampling:
    rollout = stage.rollout
    return Sampling(
        samples=rollout.group_size,
        max_new_tokens=rollout.max_new_tokens,
        temperature=rollout.temperature,
        seed=seed,
        top_p=rollout.top_p,
        top_k=rollout.top_k,
    )
