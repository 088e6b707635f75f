"""The math verifier on cases of every family of mistakes that a policy could be paid for, or a right answer lost by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prerlkit.verify import VerifierInput
from prerlkit.verify.gold import outcome
from prerlkit.verify.registry import make

ROOT = Path(__file__).resolve().parents[2]


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


def page_rows() -> list[tuple[str, str, str]]:
    """Each example of the table in docs/verifiers.md with what the page says about it."""
    section = (ROOT / "docs" / "verifiers.md").read_text(encoding="utf-8").split("\n## math\n")[1].split("\n## ")[0]
    table = section.split("| gold answer | passes | fails |")[1].split("\n\n")[0]
    rows = []
    for line in table.splitlines()[2:]:
        gold, passes, fails = (
            [text.replace(r"\|", "|") for text in re.findall(r"`([^`]+)`", cell)]
            for cell in re.split(r"(?<!\\)\|", line)[1:4]
        )
        rows += [("pass", gold[0], text) for text in passes] + [("fail", gold[0], text) for text in fails]
    return rows


@pytest.mark.parametrize(("expected", "gold", "answer"), page_rows())
def test_what_the_page_says(expected: str, gold: str, answer: str) -> None:
    assert judged(gold, rf"\boxed{{{answer}}}") == expected


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
