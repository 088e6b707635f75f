"""An engine that dies is started again once, and nothing that was sampled is lost, doubled or drawn otherwise."""

from __future__ import annotations

import pytest
import torch

from prerlkit.errors import PrerlkitError
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.restart import RestartingEngine
from prerlkit.types import Completion, Prompt

PROMPTS = [Prompt(f"train/{i}", f"q{i}", (1, 2)) for i in range(3)]
SAMPLING = Sampling(samples=2, max_new_tokens=4, temperature=1.0, seed=5)


class Mortal:
    """Gives completions that are a function of prompt and sample; dies after `lives` of them."""

    def __init__(self, lives: float, hand_over_dies: bool = False) -> None:
        self.lives, self.hand_over_dies = lives, hand_over_dies
        self.handed_over, self.closed = 0, False

    def sync_weights(self) -> None:
        if self.hand_over_dies:
            raise ConnectionResetError("gone")
        self.handed_over += 1

    def close(self) -> None:
        self.closed = True

    def generate(self, prompts, sampling):
        for s in range(sampling.samples):
            for i, prompt in enumerate(prompts):
                if self.lives <= 0:
                    raise RuntimeError("EngineCore died")
                self.lives -= 1
                yield i, s, Completion((7, s), f"{prompt.id}#{s}", (0.0, 0.0), False)


def made(*engines):
    waiting = list(engines)
    notes: list[str] = []
    return RestartingEngine(lambda: waiting.pop(0), notes.append), notes


def test_an_engine_that_runs_out_of_memory_twice_names_the_key():
    class Full(Mortal):
        def generate(self, prompts, sampling):
            raise torch.OutOfMemoryError("CUDA out of memory")
            yield

    engine, _ = made(Full(0), Full(0))
    with pytest.raises(PrerlkitError, match="died twice in a row: OutOfMemoryError") as error:
        texts(engine)
    assert "a lower rollout.max_sequences" in error.value.hint


def texts(engine) -> dict:
    found = [((i, s), c.text) for i, s, c in engine.generate(PROMPTS, SAMPLING)]
    assert len(found) == len(dict(found)), "a completion came twice"
    return dict(found)


@pytest.mark.parametrize("lives", [0, 1, 3, 5])
def test_a_death_costs_nothing(lives):
    whole = texts(made(Mortal(99))[0])
    first, second = Mortal(lives), Mortal(99)
    engine, notes = made(first, second)
    assert texts(engine) == whole
    assert len(whole) == 6
    assert first.closed
    assert second.handed_over == 1, "the new engine must have the policy before it samples"
    assert notes == ["the rollout engine died (RuntimeError: EngineCore died); starting it again, once"]


def test_a_second_death_in_one_batch_ends_the_run_cleanly():
    engine, _ = made(Mortal(1), Mortal(1), Mortal(99))
    with pytest.raises(PrerlkitError, match="died twice in a row: RuntimeError: EngineCore died") as error:
        texts(engine)
    assert "--resume" in error.value.hint


def test_a_death_in_a_later_batch_is_another_accident():
    engine, notes = made(Mortal(8), Mortal(8), Mortal(99))
    for _ in range(3):
        assert len(texts(engine)) == 6
    assert len(notes) == 2


def test_a_death_while_taking_over_the_policy():
    second = Mortal(99)
    engine, _ = made(Mortal(9, hand_over_dies=True), second)
    engine.sync_weights()
    assert second.handed_over == 1
    engine, _ = made(Mortal(9, hand_over_dies=True), Mortal(9, hand_over_dies=True))
    with pytest.raises(PrerlkitError, match="died twice in a row: ConnectionResetError: gone"):
        engine.sync_weights()


def test_an_engine_that_can_not_be_started_again():
    engines = [Mortal(1)]
    engine = RestartingEngine(lambda: engines.pop(0), print)
    with pytest.raises(PrerlkitError, match="died twice in a row: IndexError"):
        texts(engine)
    engine.close()


def test_what_the_engine_refuses_is_no_death():
    class Refusing(Mortal):
        def generate(self, prompts, sampling):
            raise PrerlkitError("rank 64 is above the engine's limit")
            yield

    engine, notes = made(Refusing(1), Mortal(99))
    with pytest.raises(PrerlkitError, match="rank 64"):
        texts(engine)
    assert notes == []
