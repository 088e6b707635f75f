"""The canary: after every weight sync the engine's log-probs of fixed tokens are held against the trainer's.

An adapter that counts twice, or that never arrived, changes nothing that a reward curve would show at once; it is this
field's commonest silent bug (ms-swift#8233). Two things are measured, in nats:

    drift   mean |engine − trainer|: two implementations of one model round differently, and by no more than that
    gain    the slope of what the adapters change in the engine on what they change in the trainer: 1 when they count
            once, 0 when they are missing, 2 when they count twice

The slope finds what the drift can't, as soon as the adapters change log-probs by more than rounding does. It is taken
from the bare base on, and from the last weight sync on (0: a stale adapter). How much is rounding, the bare base shows,
and what changed in the engine but not in the trainer: an adapter that never arrived changes nothing there at all.
Every copy of the policy is measured by itself: of several servers one that is wrong can't hide among the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from prerlkit.errors import CanaryError, joined
from prerlkit.rollout.protocol import PolicySource, RemoteEngine, Sampling, WeightSync
from prerlkit.types import Completion, Prompt

T = TypeVar("T")

DRIFT = {"float32": 0.01, "float16": 0.06, "bfloat16": 0.25}
"""Most that the mean |Δ log-prob| may be, by dtype. About five times what was measured (docs/engines.md)."""
OTHER_BASE = 2.5
"""The same between a quantized base and its 16-bit original: NF4 moves SmolLM2-135M by 1.7."""
GAIN = 0.3
"""How far the slope may be from 1, beyond its own uncertainty."""
ERRORS = 5.0
"""Standard errors of the slope that are allowed on top: chance must not stop a run."""
SEQUENCES, TOKENS = 8, 96
"""At most so many sequences, and tokens of each."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A slope through the origin: bounds on it, for what is not known of the trainer's own rounding, and their errors.

    Attributes:
        low, high: with none, and with the most, of the trainer's change being rounding. inf: it could be all of it.
        low_error, high_error: standard errors of the two.
    """

    low: float
    high: float
    low_error: float = 0.0
    high_error: float = 0.0

    @property
    def value(self) -> float:
        """Of what the bounds allow the nearest to 1: what is not 1 here is not explained by the trainer's rounding."""
        return min(max(1.0, self.low), self.high)

    @property
    def wrong(self) -> bool:
        """Whether it is not 1, beyond doubt."""
        return self.low - ERRORS * self.low_error > 1.0 + GAIN or self.high + ERRORS * self.high_error < 1.0 - GAIN


def gain(engine_N: np.ndarray, trainer_N: np.ndarray, noise: float) -> Gain:
    """The slope of the engine's change on the trainer's.

    Rounding in the trainer's change pulls a plain slope towards 0, so its share of that change is bounded: by the
    larger of what is known of the base, and of what the engine changed beside the slope. Adapters round too, in a
    16-bit model by more than the base alone, and the two sides alike. A stale copy has no such change to hide behind.

    Args:
        noise: mean square of the difference of the two without adapters, nats². A change is the difference of two
            scorings, so that rounding has at most twice this of its mean square.
    """
    energy = float(trainer_N @ trainer_N)
    if energy == 0.0:
        return Gain(0.0, float("inf"))
    product = float(engine_N @ trainer_N)
    low = product / energy
    beside = float(np.mean((engine_N - low * trainer_N) ** 2))
    signal = energy - max(2.0 * noise, beside) * len(trainer_N)
    error = float(np.sqrt(beside / energy))
    if signal <= 0.0:
        return Gain(low, float("inf"), error, 0.0)
    bounds = sorted((low, product / signal))
    return Gain(bounds[0], bounds[1], error, error * energy / signal)


class Canary:
    """The fixed tokens, and what trainer and engine said of them before.

    Args:
        trainer: asked at once for its bare base, so make the canary before there is an adapter.
        prompts: the first few of these are the tokens.
        dtype: the base's, which decides the bound on the drift.
        same_base: False where the engine serves other weights on purpose (the 16-bit original of a 4-bit base).
    """

    def __init__(self, trainer: PolicySource, prompts: Sequence[Prompt], dtype: str, *, same_base: bool = True) -> None:
        self.sequences = list(islice((p.token_ids[:TOKENS] for p in prompts if len(p.token_ids) > 1), SEQUENCES))
        self._first_N = _first_seen(self.sequences)
        self._trainer = trainer
        self._bare_N = self.flat(trainer.score(self.sequences))
        self._limit = DRIFT[dtype]
        self._base_limit = DRIFT[dtype] if same_base else OTHER_BASE

    def trainer(self) -> np.ndarray:
        """Log-probs of the policy as it is now. [N]"""
        return self.flat(self._trainer.score(self.sequences))

    def flat(self, scores: Sequence[Sequence[float]]) -> np.ndarray:
        """Scores of `sequences` without what is there twice. [N]"""
        return np.array([x for row in scores for x in row], dtype=np.float64)[self._first_N]

    def check_base(self, copy: str, bare_N: np.ndarray) -> float:
        """The drift between the two bases, nats. Raises CanaryError, naming `copy`, when they are not one model."""
        drift = _distance(bare_N, self._bare_N)
        if not drift <= self._base_limit:
            raise CanaryError(
                f"Without adapters {copy} is another model than the one in training: their log-probs differ by "
                f"{drift:.3g} nats a token on average, where {self._base_limit:g} is the bound.",
                "Start the server with the recipe's model.id (and revision), or change the recipe.",
            )
        return drift

    def check(self, copy: str, engine: Snapshot, bare_N: np.ndarray, before: Snapshot | None) -> tuple[float, float]:
        """Drift and gain after a weight sync. Raises CanaryError, which names `copy`, when it isn't the policy."""
        drift = _distance(engine.engine_N, engine.trainer_N)
        base_drift = _distance(bare_N, self._bare_N)
        noise = float(np.mean((bare_N - self._bare_N) ** 2))
        whole = gain(engine.engine_N - bare_N, engine.trainer_N - self._bare_N, noise)
        if whole.wrong:
            raise _wrong_gain(copy, whole, "the adapters change")
        if before is not None:
            step = gain(engine.engine_N - before.engine_N, engine.trainer_N - before.trainer_N, noise)
            if step.wrong:
                raise _wrong_gain(copy, step, "the adapters changed since the weight sync before")
        if not drift <= base_drift + self._limit:
            raise CanaryError(
                f"The log-probs of {copy} drifted from the trainer's: {drift:.3g} nats a token on average after "
                f"this weight sync, {base_drift:.3g} without adapters; of what the adapters change {whole.value:.2f} "
                "times arrived (1 is right, 0 missing, 2 twice).",
                "What it samples is not what is trained. Please report it with the recipe.",
            )
        return drift, whole.value


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Log-probs of the fixed tokens right after a weight sync."""

    engine_N: np.ndarray
    trainer_N: np.ndarray


class CanaryEngine:
    """A `RolloutEngine` around one that holds a copy: no weight sync goes by unchecked.

    Raises:
        CanaryError: a copy's base is not the trainer's.
    """

    def __init__(self, engine: RemoteEngine, canary: Canary) -> None:
        self._engine = engine
        self._canary = canary
        self._bare = self._scores(adapter=False)
        self.base_drift = max(_each(self._bare, lambda copy: canary.check_base(copy, self._bare[copy])))
        self._before: dict[str, Snapshot] = {}

    def sync_weights(self) -> WeightSync:
        """Sync the weights, then compare every copy."""
        begun = time.perf_counter()
        self._engine.sync_weights()
        scores, trainer_N = self._scores(adapter=True), self._canary.trainer()
        now = {copy: Snapshot(engine_N, trainer_N) for copy, engine_N in scores.items()}
        found = _each(now, lambda copy: self._canary.check(copy, now[copy], self._bare[copy], self._before.get(copy)))
        self._before = now
        drifts, gains = zip(*found, strict=True)
        return WeightSync(time.perf_counter() - begun, max(drifts), max(gains, key=lambda share: abs(share - 1.0)))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, int, Completion]]:
        """See `RolloutEngine.generate`."""
        return self._engine.generate(prompts, sampling)

    def close(self) -> None:
        self._engine.close()

    def _scores(self, *, adapter: bool) -> dict[str, np.ndarray]:
        """The fixed tokens' log-probs in each copy, [N]."""
        scores = self._engine.score(self._canary.sequences, adapter=adapter)
        return {copy: self._canary.flat(rows) for copy, rows in scores.items()}


def _each(copies: Iterable[str], check: Callable[[str], T]) -> list[T]:
    """What `check` gives for each copy. Raises one CanaryError on all that are wrong."""
    found, wrong = [], []
    for copy in copies:
        try:
            found.append(check(copy))
        except CanaryError as error:
            wrong.append(error)
    if wrong:
        raise joined(wrong)
    return found


def _first_seen(sequences: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Which of the scored tokens stand behind what no sequence before has: the others are no further measurements.

    Prompts begin alike, with a chat template and often with an instruction. Those tokens' rounding is one sample, and
    counted eight times it would look like certainty.
    """
    seen: set[tuple[int, ...]] = set()
    first = []
    for ids in sequences:
        for end in range(2, len(ids) + 1):
            first.append(ids[:end] not in seen)
            seen.add(ids[:end])
    return np.array(first, dtype=bool)


def _distance(one_N: np.ndarray, two_N: np.ndarray) -> float:
    return float(np.abs(one_N - two_N).mean())


def _wrong_gain(copy: str, found: Gain, what: str) -> CanaryError:
    if found.low > 1.0:
        story = "count more than once: merged into its weights and applied again?"
    else:
        story = "did not arrive: it samples with an earlier adapter, or with none."
    return CanaryError(
        f"Of what {what}, {found.value:.2f} times arrived in {copy} (between {found.low:.2f} and "
        f"{found.high:.2f}; 1 is right): they {story}",
        "Samples of another policy would train this one, so the run stops. The checkpoint before this step is good.",
    )
