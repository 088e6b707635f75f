"""The math verifier on cases of every family of mistakes that a policy could be paid for, or a right answer lost by."""

from __future__ import annotations

from pathlib import Path

import pytest

from prerlkit.verify import VerifierInput
from prerlkit.verify.gold import outcome
from prerlkit.verify.registry import make


def cases() -> list[tuple[str, str, str]]:
    """Expected verdict, gold answer and completion of each line."""
    found, boxed = [], True
    for line in (Path(__file__).parent / "math_cases.txt").read_text(encoding="utf-8").splitlines():
        if line == "# completions":
            boxed = False
        if line and not line.startswith("#"):
            expected, gold, answer = line.split(" ;; ")
            found.append((expected, gold, rf"So $\boxed{{{answer}}}$." if boxed else answer.replace(r"\n", "\n")))
    return found


def judged(gold: str, completion: str, **settings: object) -> str:
    return outcome(make("math", settings).judge(VerifierInput("", completion, gold)))


@pytest.mark.parametrize(("expected", "gold", "completion"), cases())
def test_case(expected: str, gold: str, completion: str) -> None:
    assert judged(gold, completion) == expected


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("x = 5", "5", "pass"),
        ("so 5x", "5", "fail"),
        ("so 10^5", "5", "fail"),
        ("so 3 + 5", "5", "fail"),
        (r"\boxed{5}", "5", "pass"),
        ("<think>5</think> so 6", "5", "fail"),
        ("it is 5 kg of H2O", "5", "pass"),
        ("5%", "5", "pass"),
    ],
)
def test_the_last_number_is_taken_whole(text: str, gold: str, expected: str) -> None:
    assert judged(gold, text, extract="last_number") == expected


def test_the_prompt_may_have_opened_the_thought() -> None:
    verifier = make("math", {})
    assert verifier.judge(VerifierInput("Why? <think>", r"\boxed{5}", "5")).passed is False
    assert verifier.judge(VerifierInput("Why? <think>", r"\boxed{6}</think>\boxed{5}", "5")).passed is True
