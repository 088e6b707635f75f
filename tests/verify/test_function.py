"""Functions as verifiers: what they are given, what they may return, and how they are named when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.types import Verdict
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import find, make

FILE = """
from prerlkit.verify import Verdict

def short(completion): return len(completion) < 5
def share(completion, answer): return min(1, len(completion) / len(answer))
def column(completion, wanted): return completion == wanted
def optional(completion, wanted="x"): return completion == wanted
def own(completion): return Verdict(0.5, True, "half")
def unsure(completion): return None
def text(completion): return "yes"
def two(completion): return 2
def nan(completion): return float("nan")
def raises(completion): return 1 / 0
def everything(prompt, completion, answer, row, truncated, tokens):
    return (prompt, completion, answer, row["a"], truncated, tokens) == ("p", "c", "g", 1, True, 3)
def anything(*completions): return True
constant = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sample", "score", "passed"),
    [
        ("short", VerifierInput("", "abc"), 1.0, True),
        ("short", VerifierInput("", "abcdef"), 0.0, False),
        ("share", VerifierInput("", "ab", "abcd"), 0.5, False),
        ("share", VerifierInput("", "abcd", "abcd"), 1.0, True),
        ("column", VerifierInput("", "x", row={"wanted": "x"}), 1.0, True),
        ("column", VerifierInput("", "x"), None, None),
        ("optional", VerifierInput("", "x"), 1.0, True),
        ("own", VerifierInput("", ""), 0.5, True),
        ("unsure", VerifierInput("", ""), None, None),
        ("everything", VerifierInput("p", "c", "g", {"a": 1}, True, 3), 1.0, True),
    ],
)
def test_what_a_function_returns_becomes_a_verdict(folder, name, sample, score, passed):
    verdict = make(f"rewards.py:{name}", {}, folder).judge(sample)
    assert (verdict.score, verdict.passed) == (score, passed)


def test_pass_at_moves_the_bar_for_numbers(folder):
    verdict = make("rewards.py:share", {"pass_at": 0.5}, folder).judge(VerifierInput("", "ab", "abcd"))
    assert (verdict.score, verdict.passed) == (0.5, True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text", "returned str, not a bool"),
        ("two", "returned 2, which is outside [0, 1]"),
        ("nan", "returned nan, which is outside [0, 1]"),
        ("raises", "ZeroDivisionError"),
    ],
)
def test_a_function_at_fault_is_unjudged_and_its_file_named(folder, name, reason):
    for use in (f"rewards.py:{name}", str(folder / f"rewards.py:{name}")):
        with Runner([VerifierConfig(name=use)], folder=folder, workers=1) as runner:
            (verdict,) = runner.judge([VerifierInput("", "abc")])
            assert runner.stats()[name].errors == 1
        assert (verdict.score, verdict.passed) == (None, None)
        assert reason in verdict.reason
        assert "rewards.py" in verdict.reason


def test_the_verifier_python_is_the_same_by_its_setting(folder, monkeypatch):
    monkeypatch.chdir(folder)
    verifier = make("python", {"function": "rewards.py:share"})
    assert verifier.needs_answer
    assert verifier.judge(VerifierInput("", "ab", "abcd")) == Verdict(0.5, False)
    with pytest.raises(ValueError, match=r"rewards\.py:nan returned nan"):
        make("python", {"function": "rewards.py:nan"}).judge(VerifierInput("", ""))
    with pytest.raises(UsageError, match="is no function"):
        make("python", {"function": "rewards"})


def test_a_function_or_class_of_an_installed_module_is_found():
    assert make("prerlkit.verifiers.python:_equal", {}).judge(VerifierInput("", "a", "a")).passed
    assert find("prerlkit.verifiers.math:Math") is find("math")


def test_a_function_that_asks_for_the_answer_needs_one(folder):
    assert make("rewards.py:share", {}, folder).needs_answer
    assert not make("rewards.py:short", {}, folder).needs_answer


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rewards.py:shrot", "holds no verifier class shrot"),
        ("rewards.py:constant", "holds no verifier class constant"),
        ("rewards.py:anything", "a parameter that can't be given by name: completions"),
        ("rewads.py:short", r"no file rewads\.py"),
        ("no.such.module:short", "fails to import: ModuleNotFoundError"),
    ],
)
def test_a_wrong_name_is_said_plainly(folder, name, message):
    with pytest.raises(UsageError, match=message):
        make(name, {}, folder)
