"""Which option a completion chooses: kinds of sentences, each in several members."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make


def cases() -> list[tuple[str, str]]:
    lines = (Path(__file__).parent / "choice_cases.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" | ", 1) for line in lines if line and not line.startswith("# ")]
    read = [(completion.replace("⏎", "\n"), letter.strip("-")) for letter, completion in pairs]
    return [*read, ("", ""), ("\u200bB", "B"), ("B\u200b", "B"), ("\u200b", "")]


@pytest.mark.parametrize(("completion", "chosen"), cases())
def test_a_completion_passes_for_the_option_that_it_chooses_and_for_no_other(completion, chosen):
    verifier = make("choice", {"options": 5})
    passed = [gold for gold in "ABCDE" if verifier.judge(VerifierInput("", completion, gold)).passed]
    assert passed == [*chosen]


def test_the_letter_i_is_an_option_only_where_it_is_marked_or_chosen():
    verifier = make("choice", {"options": 10})
    for completion, gold in [
        ("The answer is I.", "I"),
        ("(I)", "I"),
        ("I think the answer is B, I said.", "B"),
        ("So I.", "I"),
    ]:
        assert verifier.judge(VerifierInput("", completion, gold)).passed, completion
    assert not verifier.judge(VerifierInput("", "I have no idea", "I")).passed


def test_a_thought_that_the_prompt_opens_holds_no_answer():
    verifier = make("choice", {})
    assert not verifier.judge(VerifierInput("<think>\n", "The answer is B.", "B")).passed
    assert verifier.judge(VerifierInput("<think>\n", "A?</think>The answer is B.", "B")).passed


@pytest.mark.parametrize(
    "text",
    [
        "<answer>" * 30_000,
        "<answer>B</answer>" * 30_000,
        "answer " * 100_000,
        "The answer is " + "A or " * 100_000,
        "(" * 300_000,
        "\\boxed{" * 100_000,
        "\\text{" * 100_000,
        "not " * 100_000 + "B",
        "A, " * 100_000,
        "x\n" * 200_000,
        "answer\n" * 100_000,
        "A is " * 100_000,
        "choose " * 100_000,
        "(A)\n" * 100_000,
        " " * 1_000_000,
        "don't " * 100_000,
        "B. No, " * 100_000,
        "answer B\nno, " * 100_000,
        "\\boxed{B} no, " * 100_000,
        "_B. " * 200_000,
        "A.A" * 200_000,
        "B if, " * 100_000,
        "else, " * 100_000,
        "all of " * 100_000 + "but B",
        "-" * 100_000,
        "=" * 100_000,
        "-=" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_long_completions_fail_in_little_time(text):
    begun = time.process_time()  # of this process: what else the machine does is not in it
    assert make("choice", {}).judge(VerifierInput("", text, "C")).passed is False
    assert time.process_time() - begun < 2
