"""A completion that is expensive to judge fails, and does so in time: unjudged would be a way out of a bad score."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time

import pytest

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.data.sources import load_rows
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.recipe.sources import ReasoningGymSource
from prerlkit.verify import VerifierInput
from prerlkit.verify.arithmetic_size import is_small
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import make

TASKS = ("countdown", "polynomial_multiplication", "simple_integration", "number_sorting", "coin_flip",
         "power_function", "string_insertion")  # fmt: skip
ANSWERS = [
    "9**9**9**9", "9^9^9^9", "9**9**9 % 7", "(9**9**9) % 10", "(10**9)**(10**9)", "Pow(9, Pow(9, 99))",
    "factorial(10**8)",
    "factorial(factorial(20))", "99999999!", "exp(exp(exp(99)))", "1 << 10**10", "2**(10**10) // 2**(10**10 - 3)",
    "9" * 5_000, "1e999999999", "1E-999999999", "1/1e-999999999", "(" * 5_000, "[" * 100_000, "-" * 100_000 + "1",
    "1" + "+1" * 5_000, "(x+1)**3000", "(x+y+z+1)**60", "x**x**x**x", "[[1] * 10**9]", "'a' * 10**10", "nan",
    "inf", "-inf",
    "1" * 4_000 + "**2", "sqrt(" * 200 + "2" + ")" * 200, "sin(10**400000)", "\ud800", "0x" + "f" * 100_000,
]  # fmt: skip


@pytest.fixture(autouse=True)
def dropped_limits(monkeypatch):
    """Let the limit's exception be dropped where it strikes in a generator's end or a destructor: the next one follows
    soon. pytest would count it, and be struck while it counts.
    """
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)


@pytest.mark.parametrize("task", TASKS)
def test_reasoning_gym_fails_what_is_too_expensive(task):
    (row,) = load_rows(ReasoningGymSource(kind="reasoning_gym", task=task, rows=1), folder=None)
    samples = [VerifierInput("", f"<answer>{answer}</answer>", "", row) for answer in ANSWERS]
    with Runner([VerifierConfig(name="reasoning_gym", timeout=20.0)], workers=1) as runner:
        verdicts = runner.judge(samples)
    wrong = [(s.completion[:60], v) for s, v in zip(samples, verdicts, strict=True) if v.passed is not False]
    assert wrong == []


@pytest.mark.parametrize(
    ("expression", "small"),
    [
        ("2**10000", True), ("2^100", True), ("1 + 2*3", True), ("x**1000", True), ("0.5**20", True),
        ("factorial(20)", True),
        ("'a' * 100", True), ("[[0, 1], [1, 0]]", True), ("no expression", True), ("I think it is 7", True),
        ("^ ^ ^", True),
        ("", True), ("9**9**9 % 7", False), ("2**100000", False), ("0.5**1000000", False), ("factorial(3000)", False),
        ("f(9**9**9)", False), ("[1, 9**9**9]", False), ("1 << 10**9", False), ("9" * 4400, False),
        ("[0] * 10**9", False),
        ("pow(9, 10**9, 7)", False), ("a if 9**9**9 else b", False), ("(" * 150 + "1" + ")" * 150, True),
    ],
)  # fmt: skip
def test_the_size_of_an_expression_is_bounded_without_evaluating_it(expression, small):
    assert is_small(expression) is small


@pytest.mark.parametrize(
    ("rules", "completion", "passed"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, '"' + "a" * 60 + '!"', False),
        ({"patternProperties": {"^(a|a)*$": {}}}, '{"' + "a" * 60 + '!": 1}', False),
        ({"uniqueItems": True}, "[" + ",".join(f'{{"a": {n}}}' for n in range(5_000)) + "]", True),
        ({"uniqueItems": True}, "[" + ",".join(f"[{n % 4_999}]" for n in range(5_000)) + "]", False),
        ({"type": "array"}, "[" * 90 + "]" * 90, True),
        ({"type": "array"}, "[" * 500 + "]" * 500, False),
        ({"type": "array"}, "[" * 200_000 + "]" * 200_000, False),
        ({"items": {"$ref": "#"}}, "[" * 99 + "]" * 99, None),
        ({"type": "number"}, "9" * 10_000, False),
        ({"multipleOf": 0.01}, "1" + "0" * 4_000, True),
        ({"multipleOf": 0.01}, "1e308", True),
        (
            {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}], "not": {"type": "null"}},
            "[" * 60 + "null" + "]" * 60,
            False,
        ),
        ({"type": "array"}, "```\n[" * 100_000, False),
        ({"type": "array"}, "```json" * 100_000, False),
    ],
)  # fmt: skip
def test_json_schema_judges_what_is_large_and_fails_what_is_too_expensive(rules, completion, passed):
    begun = time.perf_counter()
    verdict = make("json_schema", {"rules": rules}).judge(VerifierInput("", completion))
    assert verdict.judged
    assert passed is None or verdict.passed is passed, verdict
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize("rule", ["must_match", "must_not_match"])
@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)*$", r"(.*)*b\Z", r"^(\w+\s?)*$"])
def test_a_pattern_that_backtracks_fails_the_completion(pattern, rule):
    verifier = make("regex", {rule: [pattern]})
    assert verifier.judge(VerifierInput("", "a" * 60 + "!")).passed is False


def test_a_pattern_that_backtracks_on_a_gold_answer_is_not_refused_for_it():
    verifier = make("regex", {"pattern": "Answer: ((?:a+)+b)"})
    begun = time.process_time()
    assert verifier.gold_error("a" * 40) == ""
    assert time.process_time() - begun < 2.0


def test_the_limit_is_processor_time_and_leaves_no_timer_behind():
    with cpu_limit(0.05):
        time.sleep(0.2)
    with pytest.raises(TooExpensive), cpu_limit(0.05):
        sum(n for n in itertools.count())
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass


def test_outside_the_main_thread_there_is_no_limit_and_no_error():
    verdicts: list[object] = []
    verifier = make("regex", {"must_match": ["a"]})
    thread = threading.Thread(target=lambda: verdicts.append(verifier.judge(VerifierInput("", "a")).passed))
    thread.start()
    thread.join()
    assert verdicts == [True]


def test_the_limit_holds_when_its_first_signal_is_lost(monkeypatch):
    """Python drops an exception that is raised while an object is being deleted; the next signal must come."""

    class Slow:
        def __del__(self):
            while True:
                pass

    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    def lose_two_signals_and_run_on():
        for _ in iter(Slow, None):  # each is deleted, and each deletion ends by a signal
            while len(lost) >= 2:
                pass

    with pytest.raises(TooExpensive), cpu_limit(0.05):
        lose_two_signals_and_run_on()
    assert len(lost) >= 2
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
