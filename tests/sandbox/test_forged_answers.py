"""Answers that a completion's process forges with the right nonce: they pass nothing, and nothing becomes unjudged."""

from __future__ import annotations

import pytest

from prerlkit.verify import VerifierInput

CHANGES = {
    "values compared after the call": """
def check(candidate):
    values = [9, 8]
    assert candidate(values) == sorted(values)""",
    "a value that is kept": """
def check(candidate):
    values = [9, 8]
    result = candidate(values)
    assert result == sorted(values)""",
    "a dict": """
def check(candidate):
    values = {2: 3, 1: 4}
    assert candidate(values) == sorted(values)""",
    "in an expression": """
def check(candidate):
    values = [9, 8]
    assert [candidate(values)] == [sorted(values)] and len(candidate(values)) == len(values)""",
}
FORGE = """
import sys
channel = sys.modules['prerlkit.sandbox.guest.channel'].Channel
send = channel.send
def forged(self, message):
    if 'v' in message and message['v'] is not None:
        FORGED
    send(self, message)
channel.send = forged
def solve(values): return []
"""
MORE_CHANGES = {
    "changed arguments in addition to a value": "message['m'] = [{'dict': []}, []][TYPE:]",
    "many changed arguments": "message['m'] = [[]] * 50",
    "a value of None below a value": "message.update(m=[[]], v=[None])",
}
ODD = [
    "{'Fraction': ['1', '2']}", "{'Fraction': [1.5, 2]}", "{'Fraction': [{'int': '0x' + 'f' * 100_000}, 3]}",
    "{'Fraction': [[], []]}", "{'Fraction': []}", "{'Decimal': 5}", "{'Decimal': ['1']}", "{'Decimal': '9' * 19_000}",
    "{'Decimal': 'sNaN'}", "{'deque': [[1], -1]}", "{'deque': [[1], 'x']}", "{'deque': 1}", 
    "{'complex': ['nan', '1e999']}",
    "{'complex': [1]}", "{'int': 5}", "{'int': '0x' + 'f' * 4_000_000}", "{'obj': [1]}", "{'obj': {'obj': {}}}",
    "{'obj': 'open'}", "{'obj': -1}", "{'obj': None}", "{'iterator': 5}", "{'iterator': [{'iterator': []}] * 1000}",
    "{'set': [{'dict': []}]}", "{'set': [{'set': [1]}]}", "{'frozenset': [{'frozenset': []}] * 2000}",
    "{'set': [i * ((1 << 61) - 1) for i in range(4000)]}", "{'dict': [[1]]}", "{'dict': [[1, 2, 3]]}",
    "{'dict': {'a': 1}}",
    "{'dict': [[float('nan'), 1]] * 2000}", "{'range': [0, 10, 0]}", "{'range': ['a', 'b', 'c']}", "{'bytes': 5}",
    "{'tuple': {'a': 1}}", "{'set': 'abc'}", "float('nan')", "'\\ud800'", "eval('[' * 90 + ']' * 90)", "[[]] * 500_000",
    "{'a': 1, 'b': 2}", "{}",
]  # fmt: skip
JUDGED = "def check(candidate):\n    for values in ([3, 1], [2]):\n        assert candidate(values) == sorted(values)\n"
ROWS = (
    {"entry_point": "solve", "prompt": "def solve(values):\n", "test": JUDGED},
    {"test_list": ["assert solve([3, 1]) == [1, 3]", "assert set(solve([2])) == {2}"]},
    {"fn_name": "solve", "inputs": [[[3, 1]], [[2]]], "outputs": [[1, 3], [2]]},
)


@pytest.mark.parametrize("changes", MORE_CHANGES)
@pytest.mark.parametrize("test", CHANGES)
def test_what_is_said_about_arguments_does_not_count_where_the_test_uses_the_value(test, changes, code) -> None:
    row = {"entry_point": "solve", "prompt": "def solve(values):\n", "test": CHANGES[test]}
    source = FORGE.replace("FORGED", MORE_CHANGES[changes].replace("TYPE", "0" if test == "a dict" else "1"))
    verdict = code.judge(VerifierInput("", source, None, row))
    assert verdict.passed is False, verdict
    assert code.judge(VerifierInput("", "def solve(values): return sorted(values)", None, row)).passed is True


def test_a_function_that_works_in_place_may_return_what_it_likes_where_the_test_drops_that(code) -> None:
    row = {"entry_point": "order", "prompt": "def order(a):\n"}
    drops = row | {"test": "def check(f):\n    a = [2, 1]\n    f(a)\n    assert a == [1, 2]\n    _ = f(a)\n"}
    either = row | {
        "test": "def check(f):\n    a = [2, 1]\n    r = f(a)\n    assert (a if r is None else r) == [1, 2]\n"
    }
    for body in ("a.sort()", "a.sort(); return a", "a.sort(); return 7"):
        assert code.judge(VerifierInput("", f"def order(a): {body}", None, drops)).passed is True, body
        passes = not body.endswith("7")
        assert code.judge(VerifierInput("", f"def order(a): {body}", None, either)).passed is passes, body
    assert code.judge(VerifierInput("", "def order(a): return sorted(a)", None, drops)).passed is False


@pytest.mark.parametrize("value", ODD)
def test_odd_answers_fail_and_are_not_unjudged(value, code) -> None:
    for row in ROWS:
        source = FORGE.replace("FORGED", f"message['v'] = {value}")
        verdict = code.judge(VerifierInput("", source, None, row))
        assert verdict.passed is False, (row, verdict)


@pytest.mark.parametrize(
    "error",
    ["[['NameError'], 'x']", "[['ImportError'], 'x']", "[['SystemExit'], '']", "[['UnicodeDecodeError'], 'x']",
     "[['Broken'], 'x']", "[['SkipTest'], 'x']", "[['StopIteration', 'Exception'], 'x']", "[[], 'x']", "[['x']]",
     "[['AttributeError'], 'x']", "[['MemoryError'], 'x']", "[['x' * 1_000_000], 'y' * 1_000_000]", "5",
     "[['__import__'], 'os']", "[['BaseExceptionGroup'], 'x']", "[['RecursionError'] * 1000, 'x']"],
)  # fmt: skip
def test_odd_errors_fail_and_are_not_unjudged(error, code) -> None:
    for row in ROWS:
        source = FORGE.replace("FORGED", f"message['e'] = {error}; del message['v']")
        verdict = code.judge(VerifierInput("", source, None, row))
        assert verdict.passed is False, (row, verdict)


UNSPEAKABLE = """
import os
class Odd:
    def __str__(self): SAYS
    __repr__ = __str__
def f(n): return Odd()
"""


@pytest.mark.parametrize("says", ["raise ValueError('x')", "os._exit(0)", "return 5", "raise SystemExit"])
@pytest.mark.parametrize("helper", ["assert x == 3, x", "return {3: 3}[x]", "raise AssertionError(x)"])
def test_an_object_that_cannot_say_what_it_is_fails(helper, says, code) -> None:
    test = f"def same(x):\n    {helper}\ndef check(candidate):\n    same(candidate(1))\n    assert candidate(1) == 3\n"
    row = {"entry_point": "f", "prompt": "def f(n):\n", "test": test}
    verdict = code.judge(VerifierInput("", UNSPEAKABLE.replace("SAYS", says), None, row))
    assert verdict.passed is False, verdict


@pytest.mark.parametrize(
    "test",
    ["assert eval(f(1)) == 3", "exec(f(1))\n    assert f(1)", "assert list(map(eval, [f(1)])) == [3]",
     "import importlib\n    assert importlib.import_module(f(1)).pi",
     "import pickle\n    assert pickle.loads(f(1)) == 3"],
)  # fmt: skip
def test_tests_that_would_run_what_the_program_answers_are_at_fault_themselves(test, code) -> None:
    row = {"entry_point": "f", "prompt": "def f(n):\n", "test": f"def check(f):\n    {test}\n"}
    forged = "def f(n): return \"type('X', (), {'__eq__': lambda *a: True})()\""
    assert "would run what the program answers" in code.row_error(row)
    assert code.judge(VerifierInput("", forged, None, row)).passed is None


def test_tests_may_evaluate_what_they_spell_out(code) -> None:
    test = "def check(f):\n    for n in (1,):\n        assert f(n) == eval('1 + 2')\n"
    row = {"entry_point": "f", "prompt": "def f(n):\n", "test": test}
    assert code.judge(VerifierInput("", "def f(n): return 3", None, row)).passed is True


def test_an_answer_that_ends_the_tests_fails(code) -> None:
    """The gold answer shows that the tests hold with a right value."""
    test = "def check(f):\n    import ctypes\n    r = f(5)\n    if r == 0: ctypes.string_at(0)\n    assert r == 5\n"
    row = {"entry_point": "same", "prompt": "def same(x):\n", "test": test}
    assert code.judge(VerifierInput("", "def same(x): return 0", None, row)).passed is False
    assert code.judge(VerifierInput("", "def same(x): return x", None, row)).passed is True
