"""The built-in verifiers in worker processes, where hostile answers must cost no more than their own sample."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from prerlkit.errors import UsageError
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import make


def use(name: str, timeout: float = 5.0, **settings: object) -> SimpleNamespace:
    return SimpleNamespace(name=name, settings=settings, environment=(), weight=1.0, timeout=timeout)


def test_a_completion_on_which_a_pattern_backtracks_for_ever_fails() -> None:
    """Unjudged would be a way out of a bad score."""
    with Runner([use("regex", 20.0, must_match=["(a+)+$"])], workers=1) as runner:
        verdicts = runner.judge([VerifierInput("", "aaa"), VerifierInput("", "a" * 40 + "b"), VerifierInput("", "b")])
        stats = runner.stats()["regex"]
    assert [v.passed for v in verdicts] == [True, False, False]
    assert "takes too long" in verdicts[1].reason
    assert (stats.timeouts, stats.unjudged) == (0, 0)


@pytest.mark.parametrize(
    "answer", ["9^{9^{9^9}}", "10000000!", "(((9^9)^9)^9)^9", "x" * 400, "(" * 300, r"\frac{" * 80]
)
def test_answers_meant_to_hang_do_not(answer: str) -> None:
    with Runner([use("math", 3.0)], workers=1) as runner:
        verdicts = runner.judge(
            [VerifierInput("", rf"\boxed{{{answer}}}", "x+1"), VerifierInput("", r"\boxed{1+x}", "x+1")]
        )
    assert verdicts[0].passed is not True
    assert verdicts[1].passed is True


@pytest.mark.parametrize("gold", ["5", "x+1", r"\frac{1}{2^{98}}", "2004!", r"\sum_{k=1}^{3} k"])
def test_an_answer_too_expensive_to_judge_fails(gold: str) -> None:
    """Unjudged, it would escape its 0."""
    answers = [
        r"\binom{10^9}{5\cdot10^8}",
        r"\Gamma(10^9)",
        "((2^{999})^{999})^{999}",
        "(a+b+c+d)^{60}",
        r"\lfloor e^{e^{e^e}}\rfloor",
        r"\sum_{k=1}^{10^9} k",
        r"\cos x\cos 2x\cos 3x\cos 4x\cos 5x\cos 6x",
        r"\sqrt[3]{" * 100,
        "(" * 400,
    ]
    with Runner([use("math", 10.0)], workers=1) as runner:
        verdicts = runner.judge([VerifierInput("", rf"\boxed{{{answer}}}", gold) for answer in answers])
    assert [verdict.passed for verdict in verdicts] == [False] * len(answers)


def test_a_judgement_that_runs_out_of_processor_time_is_the_answers_fault(monkeypatch) -> None:
    from prerlkit.verifiers import math

    real = math.same
    monkeypatch.setattr(math, "_SECONDS", 0.05)
    monkeypatch.setattr(
        math, "same", lambda gold, answer, *rest: real(gold, answer, *rest) if answer == "0" else spin()
    )
    assert make("math", {}).judge(VerifierInput("", "so 5", "5")).passed is False
    monkeypatch.setattr(math, "same", lambda *arguments: spin())
    assert make("math", {}).judge(VerifierInput("", "so 5", "5")).judged is False


def spin() -> None:
    while True:
        pass


def test_math_leaves_the_algebra_alone_until_it_needs_it() -> None:
    code = """
import sys
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make
verifier = make("math", {})
assert verifier.judge(VerifierInput("", r"\\boxed{1,000}", "1000")).passed
assert verifier.judge(VerifierInput("", "I think 7", "8")).passed is False
assert not {"sympy", "math_verify", "torch"} & set(sys.modules)
assert verifier.judge(VerifierInput("", r"\\boxed{x(x+1)}", "x^2+x")).passed
assert not {"sympy", "math_verify", "torch"} & set(sys.modules)
assert verifier.judge(VerifierInput("", r"\\boxed{6}", r"\\sum_{k=1}^{3} k")).passed
assert "math_verify" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_math_works_outside_the_main_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    verifier = make("math", {})
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(verifier.judge, VerifierInput("", r"\boxed{2x+x}", "3x")).result().passed


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("math", {"extract": "regex"}, "pattern goes with extract: regex"),
        ("math", {"pattern": "x"}, "pattern goes with extract: regex"),
        ("math", {"extract": "regex", "pattern": "(x"}, "at position 0"),
        ("math", {"tolerance": -1.0}, "setting tolerance"),
        ("regex", {}, "without a rule everything would pass"),
        (
            "regex",
            {"must_match": ["ok", "a(b"]},
            r"setting must_match\.1: .*missing \), unterminated subpattern at position 1",
        ),
        ("regex", {"must_match": ["(" * 5_000 + ")" * 5_000]}, "no regular expression"),
        ("regex", {"pattern": "(x{99999999999})"}, "no regular expression"),
        ("math", {"extract": "regex", "pattern": "(" * 5_000 + ")" * 5_000}, "pattern"),
        ("regex", {"pattern": "(x)", "answer_group": "y"}, "has no group 'y'"),
        ("regex", {"pattern": "(x)", "answer_group": 2}, "has no group 2"),
    ],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(name, settings)


def test_partial_scores_the_fraction_of_rules_that_hold() -> None:
    rules = {"must_match": ["a", "b"], "must_not_match": ["c"], "pattern": r"=(\d)"}
    half = make("regex", {**rules, "partial": True}).judge(VerifierInput("", "a =1 c", "1"))
    assert (half.score, half.passed) == (0.5, False)
    assert make("regex", rules).judge(VerifierInput("", "a =1 c", "1")).score == 0.0
    whole = make("regex", {**rules, "partial": True}).judge(VerifierInput("", "ab =1", "1"))
    assert (whole.score, whole.passed) == (1.0, True)
