"""Rows of data sets as they come: LiveCodeBench's private cases, and where a function's name may stand."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib

import pytest

from prerlkit.verify.code_tests.asserts import UnreadableTests, count, job
from prerlkit.verify.code_tests.private import private_cases
from prerlkit.verify.code_tests.problem import Asserts, Calls, Programs, asked_for, read

CASES = [{"input": "[1]\n2", "output": "[3]", "testtype": "functional"}]
STDIN = [{"input": "1", "output": "2", "testtype": "stdin"}]


def packed(value: object, protocol: int = 4) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


@pytest.mark.parametrize("protocol", range(6))
def test_private_cases_are_read_from_every_pickle_protocol(protocol: int) -> None:
    assert private_cases(packed(json.dumps(CASES), protocol)) == CASES


@pytest.mark.parametrize("text", ["x" * 300, "é" * 70_000, ""])
def test_private_cases_of_any_length_and_script(text: str) -> None:
    assert private_cases(packed(json.dumps([text], ensure_ascii=False))) == [text]


def test_private_cases_may_be_json_plain_compressed_or_pickled_as_bytes() -> None:
    text = json.dumps(CASES)
    assert private_cases(text) == CASES
    assert private_cases(base64.b64encode(zlib.compress(text.encode())).decode()) == CASES
    assert private_cases(packed(text.encode())) == CASES
    wrapped = packed(text)
    assert private_cases("\n".join([wrapped[:20], wrapped[20:]])) == CASES


class _Call:
    def __reduce__(self) -> tuple:
        return os.getpid, ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (packed(_Call()), "more than a text"),
        (packed(CASES), "more than a text"),
        (packed(["a"]), "more than a text"),
        (packed(("a", "b")), "more than a text"),
        (packed(3), "more than a text"),
        (packed("no JSON"), "no JSON"),
        (packed("[]") + "!", "neither JSON nor base64"),
        ("AAAA", "neither JSON nor base64"),
        (packed(json.dumps(CASES))[:40], "cut off"),
        (base64.b64encode(zlib.compress(b"")).decode(), "broken pickle"),
        (base64.b64encode(zlib.compress(b"\x80\x04.")).decode(), "something else than one text"),
        (base64.b64encode(zlib.compress(pickle.dumps("[]") + b"more")).decode(), "something else than one text"),
        (base64.b64encode(zlib.compress(pickle.dumps("[]")[:-1])).decode(), "broken pickle"),
        (base64.b64encode(zlib.compress(b"\x8c\xff[")).decode(), "broken pickle"),
        (base64.b64encode(zlib.compress(b"C\x01\xff.")).decode(), "broken pickle|no UTF-8"),
        ("[" * 100_000, "no JSON"),
    ],
)  # fmt: skip
def test_private_cases_that_are_anything_else_are_unreadable(text: str, why: str) -> None:
    with pytest.raises(UnreadableTests, match=why):
        private_cases(text)


def test_private_cases_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr("prerlkit.verify.code_tests.private._LARGEST", 10_000)
    with pytest.raises(UnreadableTests, match="larger than"):
        private_cases(packed("x" * 20_000))


def test_private_cases_come_on_top_of_the_public_ones() -> None:
    private = [{"input": "[5]\n5", "output": "[]", "testtype": "functional"}]
    row = {"public_test_cases": json.dumps(CASES), "metadata": '{"func_name": "f"}'}
    for form in (json.dumps(private), packed(json.dumps(private)), private):
        assert read({**row, "private_test_cases": form}) == Calls("f", (([[1], 2], [3]), ([[5], 5], [])))
    alone = read({"private_test_cases": packed(json.dumps(STDIN))})
    assert alone == Programs((("1", "2"),))
    for none in (None, "", [], "[]"):
        assert read({**row, "private_test_cases": none}) == Calls("f", (([[1], 2], [3]),))


@pytest.mark.parametrize("private", ["rubbish", packed(_Call()), '{"a": 1}', 3, {"a": 1}, "[3]", '[{"input": "1"}]'])
def test_a_row_is_never_reduced_to_its_public_cases(private) -> None:
    with pytest.raises(UnreadableTests):
        read({"public_test_cases": STDIN, "private_test_cases": private})


FUNCTION = {"type": "function_call", "input": [1, 2], "output": [3]}
NAMED = {
    "in the case": {"test_cases": [{**FUNCTION, "fn_name": "f"}]},
    "in verification_info": {"verification_info": json.dumps({"test_cases": [{**FUNCTION, "fn_name": "f"}]})},
    "in the case's metadata": {"tests": [{**FUNCTION, "metadata": {"func_name": "f"}}]},
    "in the case's metadata as JSON": {"tests": json.dumps([{**FUNCTION, "metadata": '{"func_name": "f"}'}])},
    "in the second case": {"tests": [FUNCTION, {**FUNCTION, "metadata": {"func_name": "f"}}]},
    "in the row": {"test_cases": [FUNCTION], "fn_name": "f"},
    "in the row's metadata": {"public_test_cases": [FUNCTION], "metadata": {"func_name": "f"}},
    "in the starter code": {
        "public_test_cases": [FUNCTION],
        "starter_code": "class Solution:\n    def f(self, a: int, b: int) -> int:\n        ",
    },
}


@pytest.mark.parametrize("place", NAMED)
def test_a_functions_name_is_found(place: str) -> None:
    problem = read(NAMED[place])
    assert isinstance(problem, Calls)
    assert (problem.function, problem.cases[0], problem.wrapped) == ("f", ([1, 2], [3]), True)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"tests": [FUNCTION]}, "no fn_name"),
        ({"tests": [{**FUNCTION, "fn_name": "f"}, {**FUNCTION, "fn_name": "g"}]}, "several functions"),
        ({"tests": [FUNCTION, *STDIN]}, "some test cases are programs"),
        ({"test": "def check(c): assert c(1)", "entry_point": "__import__('os').getpid()"}, "entry_point"),
    ],
)
def test_a_function_that_cannot_be_told_is_unreadable(row: dict, why: str) -> None:
    with pytest.raises(UnreadableTests, match=why):
        read(row)


def test_columns_in_columns_are_read() -> None:
    tests = json.dumps({"inputs": ["1"], "outputs": ["2"]})
    assert read({"tests": tests}) == Programs((("1", "2"),))


LEETCODE = {"test": "def check(candidate):\n    assert candidate(n=1) == 2\n", "entry_point": "Solution().next"}


def test_a_method_may_be_the_entry_point() -> None:
    problem = read({**LEETCODE, "prompt": "import math\nfrom typing import *\n", "starter_code": "class Solution: ..."})
    assert isinstance(problem, Asserts)
    assert (problem.entry, problem.prelude, asked_for(problem)) == ("Solution().next", True, {"next"})
    assert problem.prompt.startswith("import math")
    text = read({**LEETCODE, "prompt": "Write a method that counts, and import nothing."})
    assert isinstance(text, Asserts)
    assert text.prompt == ""
    acting = read({**LEETCODE, "prompt": "import math\nprint(math.pi)\n"})
    assert isinstance(acting, Asserts)
    assert acting.prompt == ""


UNITTEST = """
import unittest
class Base(unittest.TestCase):
    def setUp(self): self.n = 1
class TestMore(Base):
    def test_b(self): self.assertEqual(f(self.n), 2)
    def test_a(self): self.assertTrue(f(1))
    def helper(self): pass
if __name__ == "__main__":
    unittest.main()
unittest.main(argv=[""], exit=False)
"""


def test_classes_of_tests_are_found() -> None:
    made = job([UNITTEST], entry="f")
    assert made["classes"] == {"TestMore": ["test_a", "test_b"]}
    assert made["names"] == ["f"]
    assert count([UNITTEST]) == 2
    plain = "class TestIt:\n    def test_it(self):\n        assert f(1) == 2\nclass Helper:\n    def test_x(self): pass"
    assert job([plain])["classes"] == {"TestIt": ["test_it"]}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("with patch('builtins.print'): self.assertEqual(f(1), 2)", "patch"),
        ("with mock.patch('os.remove'): self.assertEqual(f(1), 2)", "mock"),
        ("open('/tmp/a', 'w').close(); self.assertEqual(f('/tmp/a'), 2)", "open"),
        ("self.assertEqual(f(tempfile.mkdtemp()), 2)", "tempfile"),
    ],
)
def test_tests_that_need_the_programs_own_process_are_unreadable(line: str, why: str) -> None:
    with pytest.raises(UnreadableTests, match=why):
        job([f"import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        {line}\n"], entry="f")
