"""An answer that is made too expensive to judge fails: it is never unjudged, and never takes long."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from prerlkit.sandbox.host import tried
from prerlkit.verify import VerifierInput
from prerlkit.verify.pool.runner import Runner
from prerlkit.verify.registry import make

LAYERS = ("bubblewrap", "landlock")
pytestmark = pytest.mark.skipif(all(map(tried, LAYERS)), reason=f"no sandbox: {'; '.join(map(tried, LAYERS))}")

ROWS = {
    "asserts": {"test_list": [
        "assert set(f(1)) == {1}", "assert len(dict(f(1))) == 1", "assert sum(f(1), ()) == ()",
        "assert sum(f(1)) == 1", "assert sum(f(1), []) == []", "assert round(7, f(1)) == 9",
    ]},
    "calls": {"fn_name": "f", "inputs": [[1]], "outputs": [[1, 1]]},
    "judge": {"test": "def check(f):\n    for n in (1,):\n        assert set(f(n)) == {1, 2}", "entry_point": "f"},
}  # fmt: skip
FORGED = """
import sys
channel = sys.modules['prerlkit.sandbox.guest.channel'].Channel
send = channel.send
def forged(self, message):
    if 'v' in message and message['v'] is not None: message['v'] = VALUE
    send(self, message)
channel.send = forged
def f(x): return 1
"""
VALUES = {
    "a set of equal hashes": "{'set': [{'int': hex(k * (2**61 - 1))} for k in range(1, 80000)]}",
    "a list of equal hashes": "[{'int': hex(k * (2**61 - 1))} for k in range(1, 80000)]",
    "a dict of equal hashes": "{'dict': [[{'int': hex(k * (2**61 - 1))}, 1] for k in range(1, 60000)]}",
    "pairs of equal hashes": "[{'tuple': [{'int': hex(k * (2**61 - 1))}, 1]} for k in range(1, 60000)]",
    "a fraction of huge parts": "{'Fraction': [{'int': hex(3**4000000)}, {'int': hex(2**6000000 + 1)}]}",
    "many fractions": "[{'Fraction': [{'int': hex(3**5000)}, {'int': hex(2**8000 + k)}]} for k in range(1500)]",
    "few fractions of large parts": "[{'Fraction': [1, {'int': hex(2**65000 + 2 * k + 1)}]} for k in range(450)]",
    "long lists": "[[1.5] * 200] * 10000",
    "long tuples of equal hashes": "{'set': [{'tuple': [1.5] * 1900 + list(tail)} for tail in tails]}",
    "a number of digits": "-10**9",
    "small fractions": "[{'Fraction': [1, 2 * k + 1]} for k in range(60000)]",
    "a decimal of many digits": "{'Decimal': '1' * 8000000}",
    "a decimal of a huge exponent": "{'Decimal': '1e999999999'}",
    "a long range": "{'range': [0, 10**15, 1]}",
    "many ranges": "[{'range': [0, 1000000, 1]}] * 30000",
    "a huge integer": "{'int': '0x' + 'f' * 8000000}",
    "many lists": "[[]] * 500000",
    "many tuples": "[{'tuple': [1, 2, 3]}] * 100000",
    "a deep list": "deep",
    "a deque of a forged length": "{'deque': [[1], -5]}",
    "an odd deque": "{'deque': 3}",
    "an odd iterator": "{'iterator': 3}",
    "an iterator": "{'iterator': [1]}",
    "an odd object": "{'obj': [[]]}",
    "digits beyond the reader's": "'9' * 8000000",
}
TAILS = "import itertools\ntails = list(itertools.product((-1, -2), repeat=10))[:999]\n"
DEEP = "deep = 1\nfor _ in range(900): deep = [deep]\n"


@pytest.mark.parametrize("value", VALUES)
def test_a_forged_value_fails_at_once(value) -> None:
    source = (
        "import sys\nsys.setrecursionlimit(100000)\n"
        + TAILS
        + (DEEP if value == "a deep list" else "")
        + FORGED.replace("VALUE", VALUES[value])
    )
    for name, row in ROWS.items():
        start = time.monotonic()
        verifier = make("code", {"case_seconds": 5.0, "total_seconds": 4.0, "score": "fraction"})
        verdict = verifier.judge(VerifierInput("", source, None, row))
        assert verdict.passed is False, (name, verdict)
        assert time.monotonic() - start < 45.0, (name, verdict)  # 2 s on an idle machine; it was minutes


def test_what_comparing_takes_counts_so_that_many_costly_answers_are_not_unjudged() -> None:
    row = {"test_list": ["assert sorted(f(1)) == [3]"] * 40}
    source = "import sys\n" + FORGED.replace("VALUE", "VALUES").replace("def f", "VALUES = [1.5, 2.5] * 700000\ndef f")
    start = time.monotonic()
    verdict = make("code", {"total_seconds": 3.0, "score": "fraction"}).judge(VerifierInput("", source, None, row))
    assert verdict.passed is False
    assert time.monotonic() - start < 12.0


EXPENSIVE = {
    "a long sum": ("sum(range(f(n))) == 1", "def f(x): return 10 ** 15"),
    "a power": ("7 ** f(n) % 10 == 1", "def f(x): return 10 ** 9"),
    "a loop over it": ("len([k for k in f(n)]) == 1", "def f(x):\n    while True: yield 1"),
    "text that is too long to hand back": ("f('x' * f(n)) == 1", "def f(x): return 10 ** 7 if x == 1 else 1"),
    "memory": ("len([0] * f(n)) == 1", "def f(x): return 10 ** 9"),
    "depth": ("repr(f(n)) == '1'", "def f(x):\n    a = []\n    for _ in range(199): a = [a]\n    return a"),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_a_value_that_makes_the_tests_expensive_fails(name) -> None:
    test, source = EXPENSIVE[name]
    row = {"test": f"def check(f):\n    for n in (1,):\n        assert {test}\n", "entry_point": "f"}
    start = time.monotonic()
    verdict = make("code", {"total_seconds": 2.0}).judge(VerifierInput("", source, None, row))
    assert verdict.passed is False, verdict
    assert time.monotonic() - start < 10.0
    assert make("code", {}).judge(VerifierInput("", "def f(x): return 1", None, row)).passed is not None


HONEST = {
    "a large integer": ("assert f(1) == 2 ** 3000 ** 1 and f(1) > 5", "def f(x): return 2 ** 3000"),
    "a set of many": ("assert len(set(f(1))) == 100000", "def f(x): return list(range(100000)) * 2"),
    "a set of near hashes": ("assert len(set(f(1))) == 50000", "def f(x): return {k << 40 for k in range(50000)}"),
    "a dict of many": ("assert len(dict(f(1))) == 100000", "def f(x): return {str(k): k for k in range(100000)}"),
    "a sum of many": ("assert sum(f(1)) == 4999950000", "def f(x): return list(range(100000))"),
    "a sum of fractions": (
        "assert float(sum(f(1))) == 5.0",
        "from fractions import Fraction\ndef f(x): return [Fraction(1, 2)] * 10",
    ),
    "keywords of a dict": ("assert f(1) == dict(a=1)", "def f(x): return {'a': 1}"),
}


@pytest.mark.parametrize("name", HONEST)
def test_large_honest_values_pass(name) -> None:
    test, source = HONEST[name]
    row = {"test_list": [test.replace("2 ** 3000 ** 1", str(2**3000))]}
    verdict = make("code", {}).judge(VerifierInput("", source, None, row))
    assert verdict.passed is True, verdict


SLEEPS = "import time\ndef f(x): time.sleep(0.3); return 1"
SLOW = "def check(f):\n    {}\n    for n in (1,):\n        assert f(n) == 1\n"


def test_tests_that_are_slow_before_they_ask_are_at_fault_themselves() -> None:
    from prerlkit.errors import PrerlkitError

    row = {"test": SLOW.format("import time; time.sleep(9)"), "entry_point": "f"}
    with pytest.raises(PrerlkitError, match="before they ask"):
        make("code", {"total_seconds": 1.0}).judge(VerifierInput("", "def f(x): return 1", None, row))


def test_what_never_ends_fails_within_its_time() -> None:
    programs = {"inputs": ["1"] * 40, "outputs": ["1"] * 40}
    for score in ("all", "fraction"):
        start = time.monotonic()
        verifier = make("code", {"case_seconds": 0.5, "total_seconds": 1.0, "score": score})
        for row, source in (
            (programs, "import time; time.sleep(0.3); print(1)"),
            (programs, "while True: pass"),
            (
                {"fn_name": "f", "inputs": [[1]] * 40, "outputs": [1] * 40},
                "import time\ndef f(x): time.sleep(0.3); return 1",
            ),
            (
                {"test_list": ["for n in range(40):\n    assert f(n)"]},
                "import time\ndef f(x): time.sleep(0.3); return 1",
            ),
        ):
            assert verifier.judge(VerifierInput("", source, None, row)).passed is False
        assert time.monotonic() - start < 20.0


def test_the_runners_limit_leaves_the_time_to_the_verifier() -> None:
    """Else a completion that is slow enough would be unjudged."""
    row = {"inputs": ["1"] * 12, "outputs": ["1"] * 12}
    honest, slow = "import time; time.sleep(0.1); print(1)", "import time; time.sleep(1.9); print(1)"
    use = SimpleNamespace(name="code", settings={"total_seconds": 4.0}, weight=1.0, timeout=1.0, environment=())
    with Runner([use], workers=1) as runner:
        verdicts = runner.judge([VerifierInput("", text, None, row) for text in (honest, slow)])
    assert [verdict.passed for verdict in verdicts] == [True, False], verdicts
