"""The texts that the laboratory's base model is trained on: their form, and how often they are right and reflect."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from benchmarks.lab.domains import DOMAINS
from benchmarks.lab.traces import Mixture, prompt, text
from prerlkit.data.reach import problems
from prerlkit.evaluation.thoughts import count
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

REACH = DOMAINS["reach"]
PROBLEMS = problems("pretraining")
VERIFIER = make("reach", {})


def texts(kind: str, number: int, **mixture: float) -> list[tuple[str, str]]:
    rng = random.Random(0)
    return [text(REACH, PROBLEMS, replace(Mixture(), **mixture), kind, rng) for _ in range(number)]


def passes(question: str, completion: str) -> bool:
    words = question.split()
    row = {"numbers": " ".join(words[2:5])}
    return VERIFIER.judge(VerifierInput(question, completion, words[6], row)).passed is True


@pytest.mark.parametrize("kind", ["fast", "slow"])
def test_every_word_is_in_the_vocabulary(kind: str) -> None:
    assert {word for pair in texts(kind, 300) for one in pair for word in one.split()} <= set(REACH.words)


def test_always_right_attempts_pass_and_never_reflect() -> None:
    for question, completion in texts("fast", 200, right=1, promptless=0):
        assert passes(question, completion)
        assert count(completion)["reflection"] == 0


def test_slow_texts_say_what_they_missed_and_end_when_they_hit() -> None:
    for question, completion in texts("slow", 200, promptless=0, give_up=0, leak=0):
        assert question.startswith("slow")
        thoughts = count(completion)
        assert thoughts["reflection"] == completion.count("=") // 2 - 1  # one after each miss
        assert thoughts["verification"] == passes(question, completion)


def test_shares_of_promptless_and_leaked_texts() -> None:
    """Of 4,000 slow texts 13 % without prompt and 9 % under fast, each ± three standard errors."""
    found = [question for question, _ in texts("slow", 4000)]
    assert sum(not question for question in found) / 4000 == pytest.approx(0.13, abs=0.016)
    assert sum(question.startswith("fast") for question in found) / 4000 == pytest.approx(0.09, abs=0.014)


def test_a_prompt_holds_the_numbers_and_the_target() -> None:
    problem = PROBLEMS[0]
    words = prompt(REACH, problem, "fast", random.Random(0)).split()
    assert words[:2] == ["fast", ":"]
    assert sorted(map(int, words[2:5])) == list(problem.numbers)
    assert words[5:] == ["get", str(problem.target), ":"]
