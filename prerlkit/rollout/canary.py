"""The canary: after every weight sync the engine's log-probs of fixed tokens are compared with the trainer's.

An adapter that counts twice or never arrives is a common silent bug (ms-swift#8233): a reward curve doesn't show it at
once. Two figures are measured, in nats:

    drift   mean |engine − trainer|: two implementations of one model differ by rounding only
    gain    the slope of what the adapters change in the engine on what they change in the trainer: 1 when they count
            once, 0 when they are missing, 2 when they count twice

The slope finds such an adapter as soon as the adapters change log-probs by more than rounding does. It is computed for
the change since the bare base, and for the change since the last weight sync (0: a stale adapter). The share of
rounding is known from the bare base, and from changes in the engine that the trainer doesn't have: an adapter that
never arrived changes nothing in the engine. Every copy of the policy is measured separately.
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
"""Bound of the mean |Δ log-prob|, by dtype. About five times the measured values (docs/engines.md)."""
OTHER_BASE = 2.5
"""The same between a quantized base and its 16-bit original: NF4 moves SmolLM2-135M by 1.7."""
GAIN = 0.3
"""How far the slope may be from 1, beyond its own uncertainty."""
ERRORS = 5.0
"""Standard errors of the slope that are allowed on top: chance must not stop a run."""
SEQUENCES, TOKENS = 8, 96
"""Most sequences, and most tokens of each."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A slope through the origin: two bounds, as the trainer's share of rounding is unknown, and their errors.

    Attributes:
        low, high: if none, and if the largest possible part, of the trainer's change is rounding. inf: it may be all.
        low_error, high_error: standard errors of the two.
    """

    low: float
    high: float
    low_error: float = 0.0
    high_error: float = 0.0

    @property
    def value(self) -> float:
        """The slope nearest to 1 within the bounds: rounding in the trainer doesn't explain a value other than 1."""
        return min(max(1.0, self.low), self.high)

    @property
    def wrong(self) -> bool:
        """Whether the slope is certainly not 1."""
        return self.low - ERRORS * self.low_error > 1.0 + GAIN or self.high + ERRORS * self.high_error < 1.0 - GAIN


def gain(engine_N: np.ndarray, trainer_N: np.ndarray, noise: float) -> Gain:
    """Return the slope of the engine's change on the trainer's.

    Rounding in the trainer's change pulls a plain slope towards 0, so a bound of the rounding is needed. It is the
    larger of the base's rounding and of the engine's change that the slope doesn't explain. Adapters add rounding, in a
    16-bit model more than the base's, and equally on both sides. A stale copy has no unexplained change.

    Args:
        noise: mean square of the difference of the two without adapters, nats². A change is the difference of two
            scorings: rounding has at most twice this mean square in it.
    """
    energy = float(trainer_N @ trainer_N)
    if energy == 0.0:
        return Gain(0.0, float("inf"))
    product = float(engine_N @ trainer_N)
    low = product / energy
    residual = float(np.mean((engine_N - low * trainer_N) ** 2))
    signal = energy - max(2.0 * noise, residual) * len(trainer_N)
    error = float(np.sqrt(residual / energy))
    if signal <= 0.0:
        return Gain(low, float("inf"), error, 0.0)
    bounds = sorted((low, product / signal))
    return Gain(bounds[0], bounds[1], error, error * energy / signal)


class Canary:
    """The fixed tokens, and their earlier scores by trainer and engine.

    Args:
        trainer: its bare base is scored at once, so make the canary before there is an adapter.
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
        """Return the log-probs of the current policy. [N]"""
        return self.flat(self._trainer.score(self.sequences))

    def flat(self, scores: Sequence[Sequence[float]]) -> np.ndarray:
        """Return the scores of `sequences`, each repeated token once. [N]"""
        return np.array([x for row in scores for x in row], dtype=np.float64)[self._first_N]

    def check_base(self, copy: str, bare_N: np.ndarray) -> float:
        """Return the drift between the two bases, nats. Raise CanaryError, naming `copy`, when they differ."""
        drift = _distance(bare_N, self._bare_N)
        if not drift <= self._base_limit:
            raise CanaryError(
                f"Without adapters {copy} is another model than the one in training: their log-probs differ by "
                f"{drift:.3g} nats a token on average, where {self._base_limit:g} is the bound.",
                "Start the server with the recipe's model.id (and revision), or change the recipe.",
            )
        return drift

    def check(self, copy: str, engine: Snapshot, bare_N: np.ndarray, before: Snapshot | None) -> tuple[float, float]:
        """Return drift and gain after a weight sync. Raise CanaryError, naming `copy`, when it isn't the policy."""
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
                "It samples from another policy than the one in training. Please report it with the recipe.",
            )
        return drift, whole.value


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Log-probs of the fixed tokens right after a weight sync."""

    engine_N: np.ndarray
    trainer_N: np.ndarray


class CanaryEngine:
    """A `RolloutEngine` around one that holds a copy: it checks every weight sync.

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
        """Return the fixed tokens' log-probs in each copy, [N]."""
        scores = self._engine.score(self._canary.sequences, adapter=adapter)
        return {copy: self._canary.flat(rows) for copy, rows in scores.items()}


def _each(copies: Iterable[str], check: Callable[[str], T]) -> list[T]:
    """Return the result of `check` for each copy. Raise one CanaryError that names all wrong copies."""
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
    """Return which scored tokens follow a prefix that no earlier sequence has: the others are repeated measurements.

    Prompts begin alike, with a chat template and often with an instruction. The rounding of these tokens is one sample.
    Counted eight times it would make the slope look too certain.
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
