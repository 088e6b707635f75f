"""The canary, on engines made up of numbers: what it lets by and what it stops."""

from __future__ import annotations

import numpy as np
import pytest

from prerlkit.errors import CanaryError
from prerlkit.rollout.canary import Canary, CanaryEngine, gain
from prerlkit.rollout.protocol import WeightSync
from prerlkit.types import Prompt

PROMPTS = [Prompt(f"p{i}", "", tuple(range(i, i + 40))) for i in range(8)]
TOKENS = 8 * 39
RNG = np.random.default_rng(0)
BASE = -3 * RNG.random(TOKENS)
FIRST, SECOND = RNG.normal(size=(2, TOKENS))  # what two stages' adapters change, at full size


def rows(flat):
    return [list(row) for row in np.asarray(flat).reshape(8, 39)]


class PolicySource:
    """Its policy is base + size · FIRST + size · SECOND; sizes are set by the test."""

    sizes = (0.0, 0.0)

    def write_adapter(self, folder, names=None):
        pass

    def score(self, sequences):
        assert [len(s) for s in sequences] == [40] * 8
        return rows(BASE + self.sizes[0] * FIRST + self.sizes[1] * SECOND)


class Engine:
    """Holds a copy of the trainer's sizes, with rounding noise; `wrong` says how it goes wrong."""

    def __init__(self, trainer, noise=0.0, wrong=None, other=0.0):
        self.trainer, self.noise, self.wrong, self.other, self.sizes = trainer, noise, wrong, other, (0.0, 0.0)

    def sync_weights(self):
        if self.wrong != "stale":
            self.sizes = self.trainer.sizes
        return WeightSync()

    def score(self, sequences, *, adapter):
        times = 0.0 if not adapter else 2.0 if self.wrong == "twice" else 1.0
        exact = BASE + self.other + times * (self.sizes[0] * FIRST + self.sizes[1] * SECOND)
        return {"the rollout engine": rows(exact + self.noise * RNG.normal(size=TOKENS))}

    def close(self):
        pass


def watched(dtype="bfloat16", same_base=True, **how):
    trainer = PolicySource()
    trainer.sizes = (0.0, 0.0)
    engine = Engine(trainer, **how)
    return trainer, engine, CanaryEngine(engine, Canary(trainer, PROMPTS, dtype, same_base=same_base))


def test_the_slope_and_its_bounds_by_hand():
    engine_N, trainer_N = np.array([2.0, 2.0, 5.0]), np.array([1.0, 1.0, 2.0])
    left = np.array([2 - 14 / 6, 2 - 14 / 6, 5 - 28 / 6])  # beside the slope; its mean square is 1/9
    found = gain(engine_N, trainer_N, noise=0.0)  # rounding may have 3 · 1/9 of the 6
    assert (found.low, found.high) == pytest.approx((14 / 6, 14 / (6 - 1 / 3)))
    assert found.low_error == pytest.approx(np.sqrt((left**2).mean() / 6))
    found = gain(engine_N, trainer_N, noise=0.5)  # rounding may have 2 · 0.5 · 3 of the 6
    assert (found.low, found.high) == pytest.approx((14 / 6, 14 / 3))
    assert found.high_error == pytest.approx(2 * found.low_error)
    assert found.value == found.low  # both are over 1
    assert gain(-engine_N, trainer_N, noise=0.5).value == pytest.approx(-14 / 6)
    assert gain(engine_N / 3, trainer_N, noise=0.5).value == 1.0  # from 14/18 to 14/9
    exact = gain(3 * trainer_N, trainer_N, noise=0.0)
    assert exact.low == exact.high == 3.0
    for unknown in (gain(engine_N / 3, trainer_N, noise=1.0), gain(engine_N, 0 * trainer_N, noise=0.0)):
        assert unknown.high == float("inf")
        assert unknown.value == 1.0


def test_rounding_that_adapters_add_is_seen_in_the_engine_and_a_stale_copy_can_not_hide_in_it():
    """SmolLM2 in bfloat16 after a first step: 0.1 nats of change behind 0.11 to 0.14 of rounding, the base 0.07."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        rounding_e, rounding_t = rng.normal(scale=0.15, size=(2, TOKENS))
        change = 0.05 * rng.normal(size=TOKENS)
        found = gain(change + rounding_e, change + rounding_t, noise=0.05**2)
        assert found.low < 0.3
        assert not found.wrong
        assert gain(np.zeros(TOKENS), change + rounding_t, noise=0.05**2).wrong


def test_tokens_behind_the_same_beginning_count_once():
    prompts = [Prompt(f"p{i}", "", (*range(20), 50 + i // 2, 60)) for i in range(4)]  # two pairs of equal ones
    trainer = PolicySource()
    trainer.score = lambda sequences: [[float(100 * i + j) for j in range(len(s) - 1)] for i, s in enumerate(sequences)]
    canary = Canary(trainer, prompts, "bfloat16")
    assert canary.trainer().tolist() == [*range(21), 219, 220]  # all of the first; of the third what differs; no more


def test_a_change_smaller_than_rounding_stops_nothing():
    """As SmolLM2 in bfloat16 after one step: most of the trainer's change is rounding, so a plain slope is near 0."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        noises = rng.normal(scale=0.1, size=(4, TOKENS))
        change = 0.03 * rng.normal(size=TOKENS)
        noise = np.mean((noises[0] - noises[1]) ** 2)
        found = gain(change + noises[2] - noises[0], change + noises[3] - noises[1], noise)
        assert found.low < 0.5
        assert not found.wrong


def test_a_true_copy_passes_with_and_without_rounding():
    for noise in (0.0, 0.05):
        trainer, _, engine = watched(noise=noise)
        for sizes in [(0.0, 0.0), (0.02, 0.0), (0.5, 0.0), (0.5, 0.1)]:  # zero, a first step, trained, stack of two
            trainer.sizes = sizes
            sync = engine.sync_weights()
        assert sync.drift < 0.15
        assert sync.gain == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("sizes", [(0.15, 0.0), (0.5, 0.0), (0.2, 0.2)])
def test_an_adapter_that_counts_twice_is_stopped_while_the_drift_is_within_its_bound(sizes):
    trainer, _, engine = watched(noise=0.04, wrong="twice")
    trainer.sizes = sizes
    with pytest.raises(CanaryError, match="more than once"):
        engine.sync_weights()


def test_an_adapter_of_an_earlier_step_is_stopped():
    trainer, inner, engine = watched(noise=0.02)
    trainer.sizes = (0.3, 0.0)
    engine.sync_weights()
    inner.wrong = "stale"
    engine.sync_weights()  # nothing has changed: nothing to find
    trainer.sizes = (0.4, 0.0)  # a third more: from the base on it all but fits
    with pytest.raises(CanaryError, match="earlier adapter"):
        engine.sync_weights()


def test_another_base_is_stopped_before_the_first_step():
    with pytest.raises(CanaryError, match="another model"):
        watched(other=0.4)
    _, _, engine = watched(other=0.4, same_base=False)  # the 16-bit original of a 4-bit base: on purpose
    assert engine.base_drift == pytest.approx(0.4)
    assert engine.sync_weights().drift == pytest.approx(0.4)
    with pytest.raises(CanaryError, match="another model"):
        watched(other=float("nan"))


def test_a_drift_without_direction_is_stopped():
    _, inner, engine = watched(dtype="float32")
    inner.noise = 0.02
    with pytest.raises(CanaryError, match="drifted"):
        engine.sync_weights()
