"""The code verifier on honest rows: every shape, what can't be judged, its settings."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.sandbox.host import tried
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import make

LAYERS = ("bubblewrap", "landlock")
pytestmark = pytest.mark.skipif(all(map(tried, LAYERS)), reason=f"no sandbox: {'; '.join(map(tried, LAYERS))}")


def judge(row: dict, completion: str, **settings: object):
    return make("code", settings).judge(VerifierInput("", completion, None, row))


# A row of each shape, a right completion, and one that is wrong in its last case.
SHAPES = {
    "json in input_output": (
        {"input_output": json.dumps({"inputs": ["1\n", "20\n"], "outputs": ["2\n", "21\n"]})},
        "print(int(input()) + 1)",
        "print(2)",
    ),
    "apps with fn_name": (
        {"input_output": {"fn_name": "f", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]}},
        "def f(a, b): return a + b",
        "def f(a, b): return 3",
    ),
    "a method of Solution": (
        {"fn_name": "f", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]},
        "class Solution:\n    def f(self, a, b): return a + b",
        "class Solution:\n    def f(self, a, b): return 3",
    ),
    "livecodebench, functional": (
        {
            "public_test_cases": json.dumps(
                [
                    {"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"},
                    {"input": "[]\n3", "output": "[]", "testtype": "functional"},
                ]
            ),
            "metadata": '{"func_name": "shift"}',
        },
        "class Solution:\n    def shift(self, values, by): return [v + by for v in values]",
        "class Solution:\n    def shift(self, values, by): return [4, 5]",
    ),
    "livecodebench, stdin": (
        {
            "public_test_cases": [
                {"input": "3", "output": "9", "testtype": "stdin"},
                {"input": "4", "output": "16", "testtype": "stdin"},
            ]
        },
        "import sys\nprint(int(sys.stdin.read()) ** 2)",
        "print(9)",
    ),
    "mbpp with a built-in name": (
        {"test_list": ["assert sum(2, 4) == 6", "assert sum(1, 1) == 2"], "code": "def sum(a, b):\n    return a + b"},
        "def sum(a, b): return a + b",
        "def sum(a, b): return 6",
    ),
    "mbpp with a class of the completion's": (
        {
            "test_list": ["assert longest([Pair(1, 2), Pair(3, 4)]) == 2", "assert longest([]) == 0"],
            "code": "class Pair:\n    pass\ndef longest(pairs):\n    pass",
        },
        "class Pair:\n    def __init__(self, a, b): self.a = a\ndef longest(pairs): return len([p.a for p in pairs])",
        "class Pair:\n    def __init__(self, a, b): self.a = a\ndef longest(pairs): return 2",
    ),
    "mbpp with set-up": (
        {
            "test_list": ["assert height(root) == 2", "assert height(root.left) == 1"],
            "test_setup_code": "root = Node(1)\nroot.left = Node(2)",
            "code": "class Node: pass\ndef height(node): pass",
        },
        "class Node:\n    def __init__(self, x): self.left = None\n"
        "def height(node): return 0 if node is None else 1 + height(node.left)",
        "class Node:\n    def __init__(self, x): self.left = None\ndef height(node): return 2",
    ),
    "helpers of the prompt": (
        {
            "prompt": "def encode(s):\n    return s[::-1]\n\ndef decode(s):\n    '''Undo encode.'''\n",
            "entry_point": "decode",
            "test": "def check(candidate):\n    for s in ('abc', 'xy'):\n        assert candidate(encode(s)) == s\n",
        },
        "    return s[::-1]\n",
        "    return 'abc'\n",
    ),
    "in place": (
        {"test": "def check(f):\n    a = [2, 1]\n    f(a)\n    assert a == [1, 2]\n    f(a)\n", "entry_point": "order"},
        "def order(a): a.sort()",
        "def order(a): return sorted(a)",
    ),
    "expected exceptions": (
        {
            "test": "def check(f):\n    assert f(1) == 1\n    try:\n        f(-1)\n        assert False\n"
            "    except ValueError:\n        pass\n",
            "entry_point": "root",
        },
        "def root(x):\n    if x < 0: raise ValueError(x)\n    return x",
        "def root(x): return x",
    ),
    "an object with methods": (
        {"tests": ["s = Stack()\ns.push(4)\ns.push(5)\nassert s.pop() == 5\nassert s.pop() == 4\nassert len(s) == 0"]},
        "class Stack(list):\n    push = list.append\n",
        "class Stack:\n    push = lambda self, x: None\n    pop = lambda self: 5\n    __len__ = lambda self: 0",
    ),
    "a generator": (
        {"test_list": ["assert list(evens(5)) == [0, 2, 4]", "for n in evens(1):\n    assert n == 0"]},
        "def evens(n):\n    for i in range(0, n, 2): yield i",
        "def evens(n):\n    yield 0",
    ),
    "modules that the tests forgot": (
        {"test_list": ["assert math.isclose(half(3), 1.5)", "assert re.match('4', str(half(8)))"]},
        "def half(x): return x / 2",
        "def half(x): return 1.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_row_tells_right_from_wrong(shape: str) -> None:
    row, right, wrong = SHAPES[shape]
    verdict = judge(row, right)
    assert verdict.passed is True, verdict
    assert judge(row, f"Here:\n```python\n{right}\n```\nDone.").passed is True or row.get("prompt")
    verdict = judge(row, wrong)
    assert (verdict.passed, verdict.score) == (False, 0.0), verdict


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({}, "no tests"),
        ({"test": ""}, "no tests"),
        ({"test": "def check(c): assert c(1) == 1"}, "no entry_point"),
        ({"test_list": ["assert f(1) = 1"]}, "don't parse"),
        ({"test_list": ["assert f(1) == 1", 3]}, "no list of texts"),
        ({"test_list": ["f(1)"]}, "assert nothing"),
        ({"test_list": ["assert len([1]) == 1"]}, "call nothing"),
        ({"test": "def check(f):\n    assert 1 + 1 == 2", "entry_point": "f"}, "never call"),
        ({"test": "def check(f):\n    assert nobody(f(1))", "entry_point": "f"}, "NameError"),
        ({"test": "import numpy\ndef check(f):\n    assert numpy.all(f(1))", "entry_point": "f"}, ""),
        ({"test": "def check(f):\n    assert math.nothing(f(1))", "entry_point": "f"}, "AttributeError"),
        ({"test": "def check(f):\n    assert f(lambda x: x) == 1", "entry_point": "f"}, "can't leave their process"),
        ({"test": "def check(f):\n    f(1)\n    exit(0)\n    assert f(1)", "entry_point": "f"}, "SystemExit"),
        ({"test": "raise ValueError('x')\ndef check(f):\n    assert f(1)", "entry_point": "f"}, "ValueError: x"),
        ({"inputs": ["1"], "outputs": []}, "same length"),
        ({"inputs": ["1"], "outputs": [""]}, "every expected output is empty"),
        ({"input_output": "{"}, "no JSON"),
        ({"fn_name": "f", "inputs": [3], "outputs": [1]}, "neither a list of arguments nor text"),
        ({"test_cases": [{"input": "1"}]}, "lacks input or output"),
    ],
)  # fmt: skip
def test_tests_that_make_no_sense_are_unjudged(row: dict, why: str) -> None:
    for completion in ("def f(x): return 1", "def f(x): return 2"):
        verdict = judge(row, completion)
        assert verdict.passed is None, verdict
        assert why in verdict.reason


def test_a_fraction_counts_the_cases_that_pass() -> None:
    asserts = {"test_list": ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9", "assert f(0) == 0"]}
    loop = {"entry_point": "f", "test": "def check(f):\n    for i in (1, 2, 3, 0):\n        assert f(i) == i * i\n"}
    stdin = {"inputs": ["1", "2", "3", "0"], "outputs": ["1", "4", "9", "0"]}
    for row in (asserts, loop):
        assert judge(row, "def f(x): return x", score="fraction").score == 0.5
        assert judge(row, "def f(x):\n    if x == 2: exit()\n    return x * x", score="fraction").score == 0.75
        died = "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x * x"
        verdict = judge(row, died, score="fraction")
        assert (verdict.score, verdict.passed, verdict.details["passed"]) == (0.75, False, 3)
        assert judge(row, "def f(x): return x * x", score="fraction").score == 1.0
        assert judge(row, "def f(x): pass", score="fraction").score == 0.0
    assert judge(stdin, "print(input())", score="fraction").score == 0.5


def test_asserts_of_the_tests_own_functions_count() -> None:
    row = {
        "entry_point": "f",
        "test": "def same(a, b):\n    assert a == b\n\ndef check(f):\n    for i in range(3):\n        same(f(i), i)\n",
    }
    assert judge(row, "def f(x): return x").passed is True
    assert judge(row, "def f(x): return 0").passed is False


def test_a_slow_completion_fails_within_the_runners_limit() -> None:
    row = {"test_list": ["assert f(1) == 1"] * 20}
    with Runner(
        [SimpleNamespace(name="code", settings={}, environment=(), weight=1.0, timeout=5.0)], workers=1
    ) as runner:
        slow, honest = runner.judge(
            [
                VerifierInput("", "import time\ndef f(x):\n    time.sleep(9)", None, row),
                VerifierInput("", "f = int", None, row),
            ]
        )
    assert (slow.passed, slow.reason) == (False, "ran longer than 2 s")
    assert honest.passed is True


def test_many_slow_cases_end_with_the_total() -> None:
    row = {"inputs": ["1"] * 50, "outputs": ["1"] * 50}
    start = time.monotonic()
    verdict = judge(row, "import time; time.sleep(0.4); print(1)", total_seconds=1.0, score="fraction")
    assert time.monotonic() - start < 0.5 * 50 * 0.4  # half of what all cases would take
    assert verdict.passed is False
    assert verdict.score is not None
    assert verdict.score < 0.1


def test_programs_are_run_as_python_runs_them() -> None:
    row = {"inputs": ["3\n1 2 3\n"], "outputs": ["6\n0.333333333"]}
    solution = """
import sys, threading
from dataclasses import dataclass
@dataclass
class Box: total: int = 0
box = Box()
def main():
    data = open(0).read().split()
    box.total = sum(map(int, data[1:]))
    print(box.total)
    print(1 / 3)
if __name__ == '__main__':
    threading.Thread(target=main).start()
"""
    assert judge(row, solution).passed is True
    assert judge(row, solution.replace("1 / 3", "1 / 2")).passed is False
    assert judge(row, "print(6, 1 / 3, sep='\\n'); exit()").passed is True
    assert judge(row, solution + "\nraise SystemExit(1)").passed is False
    assert (
        judge(row, "import asyncio\nasync def main(): print(6, 1 / 3, sep='\\n')\nasyncio.run(main())").passed is True
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "some"}, "setting score"),
        ({"case_seconds": 0.0}, "setting case_seconds"),
        ({"layer": "docker"}, "setting layer"),
        ({"time": 3}, "has no setting time"),
        ({"i_accept_that_untrusted_code_runs_unsandboxed": "yes"}, "unsandboxed"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("code", settings)


def test_without_any_sandbox_it_refuses_or_says_that_it_has_none(monkeypatch) -> None:
    monkeypatch.setattr("prerlkit.sandbox.host.tried", lambda layer: "not today")
    with pytest.raises(PrerlkitError, match="no sandbox") as refusal:
        make("code", {})
    assert "apt-get install -y bubblewrap" in refusal.value.hint
    assert "i_accept_that_untrusted_code_runs_unsandboxed: true" in refusal.value.hint
    verifier = make("code", {"i_accept_that_untrusted_code_runs_unsandboxed": True})
    verdict = verifier.judge(VerifierInput("", "def f(x): return x", None, {"test_list": ["assert f(1) == 1"]}))
    assert (verdict.passed, verdict.details["layer"]) == (True, "none")


def test_a_broken_sandbox_is_unjudged_not_failed(monkeypatch) -> None:
    verifier = make("code", {})
    monkeypatch.setattr("prerlkit.sandbox.process._STUB", "raise SystemExit(3)")
    for row in ({"test_list": ["assert f(1) == 1"]}, {"inputs": ["1"], "outputs": ["1"]}):
        with pytest.raises(PrerlkitError, match="can't be started: exit code 3"):
            verifier.judge(VerifierInput("", "def f(x): return x", None, row))
