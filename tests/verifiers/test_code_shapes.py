"""The code verifier on the shapes of data sets' rows and answers: a right completion passes and a wrong one fails."""

from __future__ import annotations

import base64
import json
import pickle
import zlib

import pytest

from prerlkit.audit.gold import try_gold
from prerlkit.audit.samples import AuditRow
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.sandbox.host import tried
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

LAYERS = ("bubblewrap", "landlock")
pytestmark = pytest.mark.skipif(all(map(tried, LAYERS)), reason=f"no sandbox: {'; '.join(map(tried, LAYERS))}")


def judge(row: dict, completion: str, **settings: object):
    return make("code", settings).judge(VerifierInput("", completion, None, row))


def packed(cases: list) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


PUBLIC = [{"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"}]
PRIVATE = [{"input": "[7]\n1", "output": "[8]", "testtype": "functional"}]
STARTER = "class Solution:\n    def shift(self, values: List[int], by: int) -> List[int]:\n        "
LEETCODE = {
    "prompt": "from typing import *\nfrom collections import *\n\ndef doubled(x):\n    return [x, x]\n",
    "entry_point": "Solution().pairs",
    "test": "def check(candidate):\n    assert candidate(x = 1) == [1, 1]\n    assert candidate(x = 2) == doubled(2)\n",
    "starter_code": "class Solution:\n    def pairs(self, x: int) -> List[int]:\n        ",
}
UNITTEST = {
    "test": "import unittest\nfrom solution import root\nclass TestCases(unittest.TestCase):\n    def setUp(self):\n"
    "        self.n = 9\n    def test_a(self):\n        self.assertEqual(root(self.n), 3)\n    def test_b(self):\n"
    "        with self.assertRaises(ValueError):\n            root(-1)\n    def test_c(self):\n"
    "        for n in (0, 1):\n            with self.subTest(n=n):\n"
    "                self.assertAlmostEqual(root(n), n)\n",
    "entry_point": "root",
}
ROOT = "def root(x):\n    if x < 0:\n        raise ValueError(x)\n    return x ** 0.5\n"
BIG = {
    "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n"
    "        self.assertEqual(task_func(1), 2)\n    def test_b(self):\n        self.assertEqual(task_func(5), 6)\n",
    "entry_point": "task_func",
    "complete_prompt": 'def task_func(a):\n    """Adds one."""\n',
}
LAZY = {"fn_name": "f", "inputs": [[3], [1]], "outputs": [[0, 1, 2], [0]]}
SHAPES = {
    "livecodebench, private cases in JSON": (
        {"public_test_cases": PUBLIC, "private_test_cases": json.dumps(PRIVATE),
         "metadata": '{"func_name": "shift"}'},
        "class Solution:\n    def shift(self, values, by): return [v + by for v in values]",
        "class Solution:\n    def shift(self, values, by): return [4, 5]",
    ),
    "livecodebench, private cases packed, no import": (
        {"public_test_cases": PUBLIC, "private_test_cases": packed(PRIVATE), "starter_code": STARTER},
        f"{STARTER}return [v + by for v in values]",
        f"{STARTER}return [4, 5]",
    ),
    "the starter code's rest": (
        {"public_test_cases": PUBLIC, "private_test_cases": packed(PRIVATE), "starter_code": STARTER},
        "        return [v + by for v in values]",
        "        return [4, 5]",
    ),
    "livecodebench, private programs": (
        {
            "public_test_cases": json.dumps([{"input": "3", "output": "9", "testtype": "stdin"}]),
            "private_test_cases": packed([{"input": "4", "output": "16", "testtype": "stdin"}]),
        },
        "print(int(input()) ** 2)",
        "print(9)",
    ),
    "leetcodedataset": (
        LEETCODE,
        "class Solution:\n    def pairs(self, x: int) -> List[int]:\n        return [x] * 2",
        "class Solution:\n    def pairs(self, x): return [1, 1]",
    ),
    "leetcodedataset, its prompt gives what it imports": (
        LEETCODE,
        "class Solution:\n    def pairs(self, x):\n        return list(deque([x, x]))",
        "class Solution:\n    def pairs(self, x):\n        return list(deque([x]))",
    ),
    "a method, no prompt": (
        {**LEETCODE, "prompt": "Return x twice.",
         "test": "def check(c):\n    assert c(1) == [1, 1]\n    assert c(2)[1] == 2"},
        "class Solution:\n    def pairs(self, x: int) -> Optional[List[int]]:\n        return list(chain([x], [x]))",
        "class Solution:\n    def pairs(self, x): return [1, 1]",
    ),
    "unittest": (UNITTEST, ROOT, "def root(x): return 3"),
    "unittest, raises nothing": (UNITTEST, ROOT, "def root(x): return abs(x) ** 0.5"),
    "bigcodebench": (BIG, "def task_func(a):\n    return a + 1", "def task_func(a):\n    return 2"),
    "bigcodebench, the prompt's rest": (BIG, "    return a + 1", "    return 2"),
    "a plain class of tests": (
        {"test": "class TestF:\n    def test_a(self):\n        assert f(1) == 2\n    def test_b(self):\n"
         "        assert f(2) == 3\n", "entry_point": "f"},
        "def f(x): return x + 1",
        "def f(x): return 2",
    ),
    "function_call with wrapped outputs": (
        {"verification_info": {"test_cases": [
            {"type": "function_call", "fn_name": "f", "input": [1, 2], "output": [3]},
            {"type": "function_call", "fn_name": "f", "input": [3, 4], "output": [7]}]}},
        "def f(a, b): return a + b",
        "def f(a, b): return 3",
    ),
    "function_call whose output is a list": (
        {"test_cases": [{"type": "function_call", "fn_name": "f", "input": [[1]], "output": [[1]]},
                        {"type": "function_call", "fn_name": "f", "input": [[2]], "output": [[2]]}]},
        "def f(a): return a",
        "def f(a): return [1]",
    ),
    "a name in the cases' metadata": (
        {"tests": json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional",
                               "metadata": {"func_name": "f"}},
                              {"input": "2\n2", "output": "4", "testtype": "functional"}])},
        "def f(a, b): return a + b",
        "def f(a, b): return 3",
    ),
    "a generator": (LAZY, "def f(n):\n    yield from range(n)", "def f(n):\n    yield 0"),
    "a deque": (LAZY, "from collections import deque\ndef f(n): return deque(range(n))",
                "from collections import deque\ndef f(n): return deque([0])"),
    "a map": (LAZY, "def f(n): return map(int, range(n))", "def f(n): return map(int, [0])"),
    "a range": (LAZY, "def f(n): return range(n)", "def f(n): return range(1)"),
    "keys of a dict": (LAZY, "def f(n): return dict.fromkeys(range(n)).keys()", "def f(n): return {0: 0}.keys()"),
    "generators in a list": (
        {"fn_name": "f", "inputs": [[2], [1]], "outputs": [[[0], [0, 1]], [[0]]]},
        "def f(n): return [(k for k in range(i + 1)) for i in range(n)]",
        "def f(n): return [(0 for _ in range(1))]",
    ),
    "a generator in an assert": (
        {"test_list": ["assert list(f(3)) == [0, 1, 2]", "assert sorted(f(1)) == [0]", "assert sum(f(3)) == 3"]},
        "def f(n):\n    yield from range(n)",
        "def f(n):\n    yield 0",
    ),
    "a deque in an assert": (
        {"test_list": ["from collections import deque\nassert f(2) == deque([0, 1])", "assert list(f(1)) == [0]"]},
        "from collections import deque\ndef f(n): return deque(range(n))",
        "from collections import deque\ndef f(n): return deque([0])",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_tells_right_from_wrong(shape: str) -> None:
    row, right, wrong = SHAPES[shape]
    verdict = judge(row, right)
    assert verdict.passed is True, verdict
    verdict = judge(row, f"So:\n```python\n{right}\n```\nThat is all.")
    assert verdict.passed is True, verdict
    verdict = judge(row, wrong)
    assert (verdict.passed, verdict.score) == (False, 0.0), verdict


def test_an_iterator_is_no_list_where_python_says_so() -> None:
    row = {"test_list": ["assert f(1) == [0]"]}
    assert judge(row, "def f(n): return iter([0])").passed is False
    assert judge(row, "def f(n): return [0]").passed is True


PRELUDE = {
    "typing": "def f(x: Optional[List[int]]) -> Dict[str, int]: return x + 1",
    "collections": "def f(x): return x + len(Counter('a'))",
    "math": "def f(x): return gcd(x, x) + 1",
    "a module": "def f(x): return math.floor(x + 1.5)",
    "a function that is called like its module": "def f(x): return x + bisect([0], 1)",
    "a module with such a function": "def f(x): return x + bisect.bisect_left([0], 1)",
    "itertools and functools": "@lru_cache(None)\ndef f(x): return x + next(islice(count(1), 1))",
    "only in a function": "def f(x):\n    h = []\n    heappush(h, x + 1)\n    return heappop(h)",
    "its own name is its own": "def gcd(a, b): return 1\ndef f(x): return x + gcd(4, 4)",
    "its own import is its own": "from math import log as gcd\ndef f(x): return x + 1 + int(gcd(1))",
    "a built-in name stays": "def f(x): return pow(x, 1, 5) + 1",
}


@pytest.mark.parametrize("name", PRELUDE)
def test_common_imports_are_given(name: str) -> None:
    calls = {"fn_name": "f", "inputs": [[1], [3]], "outputs": [2, 4]}
    assert judge(calls, PRELUDE[name]).passed is True, judge(calls, PRELUDE[name])


def test_where_the_datas_judge_gives_no_imports_there_are_none() -> None:
    verdict = judge({"test_list": ["assert f(4) == 2"]}, "def f(x): return sqrt(x)")
    assert verdict.passed is False
    assert "sqrt" in verdict.reason


def test_an_answer_stands_behind_the_thought() -> None:
    row = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}
    right, wrong = "```python\ndef f(x): return x + 1\n```", "```python\ndef f(x): return 2\n```"
    assert judge(row, f"<think>{wrong}</think>{right}").passed is True
    assert judge(row, f"<think>{right}</think>{wrong}").passed is False
    assert judge(row, f"<think>{right}").passed is False


@pytest.mark.parametrize("private", ["rubbish", base64.b64encode(zlib.compress(pickle.dumps(PRIVATE))).decode()])
def test_private_cases_that_cannot_be_read_are_unjudged_and_stop_the_run(private: str) -> None:
    row = {"public_test_cases": PUBLIC, "private_test_cases": private, "metadata": {"func_name": "shift"}}
    verdict = judge(row, "class Solution:\n    def shift(self, values, by): return [4, 5]")
    assert verdict.passed is None
    assert "private_test_cases" in verdict.reason
    good = {**row, "private_test_cases": packed(PRIVATE)}
    rows = [AuditRow(f"train/{i}", VerifierInput("", "", None, each)) for i, each in enumerate([good, row])]
    assert try_gold([VerifierConfig(name="code")], rows[:1], None) == ()
    with pytest.raises(UsageError, match=r"row train/1: private_test_cases"):
        try_gold([VerifierConfig(name="code")], rows, None)


def test_tests_that_skip_themselves_are_unjudged() -> None:
    row = {
        "test": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        f(1)\n"
        "        self.skipTest('not today')\n        self.assertTrue(f(1))\n",
        "entry_point": "f",
    }
    assert judge(row, "def f(x): return x").passed is None
