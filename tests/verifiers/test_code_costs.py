"""An answer that is made too expensive to judge fails: it is never unjudged, and never takes long."""

from __future__ import annotations

import time

import pytest

from prerlkit.sandbox.host import tried
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

LAYERS = ("bubblewrap", "landlock")
pytestmark = pytest.mark.skipif(all(map(tried, LAYERS)), reason=f"no sandbox: {'; '.join(map(tried, LAYERS))}")

ASSERTS = {"test_list": [
    "assert set(f(1)) == {1}", "assert len(dict(f(1))) == 1", "assert sorted(f(1)) == [1]", "assert sum(f(1), ()) == ()",
    "assert str(f(1)) == '1'", "assert f(1) == [1]",
]}  # fmt: skip
ROWS = {
    **{test: {"test_list": [test]} for test in ASSERTS["test_list"]},
    "calls": {"fn_name": "f", "inputs": [[1]], "outputs": [[1]]},
    "a set in the judge": {"test": "def check(f):\n    for n in (1,):\n        assert set(f(n)) == {1}",
                           "entry_point": "f"},
    "arithmetic in the judge": {"test": "def check(f):\n    for n in (1,):\n        assert sum(range(f(n))) == 1",
                                "entry_point": "f"},
    "a power in the judge": {"test": "def check(f):\n    for n in (1,):\n        assert 7 ** f(n) % 10 == 1",
                             "entry_point": "f"},
    "text in the judge": {"test": "def check(f):\n    for n in (1,):\n        assert f(f(n) * 10 ** 7) == 1",
                          "entry_point": "f"},
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
    "a set of equal hashes": "{'set': [{'int': hex(k * (2**61 - 1))} for k in range(1, 250000)]}",
    "a list of equal hashes": "[{'int': hex(k * (2**61 - 1))} for k in range(1, 250000)]",
    "a dict of equal hashes": "{'dict': [[{'int': hex(k * (2**61 - 1))}, 1] for k in range(1, 200000)]}",
    "pairs of equal hashes": "[{'tuple': [{'int': hex(k * (2**61 - 1))}, 1]} for k in range(1, 150000)]",
    "a fraction of huge parts": "{'Fraction': [{'int': hex(3**4000000)}, {'int': hex(2**6000000 + 1)}]}",
    "many fractions": "[{'Fraction': [{'int': hex(3**5000)}, {'int': hex(2**8000 + k)}]} for k in range(1500)]",
    "small fractions": "[{'Fraction': [1, 2 * k + 1]} for k in range(150000)]",
    "a decimal of many digits": "{'Decimal': '1' * 8000000}",
    "a decimal of a huge exponent": "{'Decimal': '1e999999999'}",
    "a long range": "{'range': [0, 10**15, 1]}",
    "many ranges": "[{'range': [0, 1000000, 1]}] * 100000",
    "a huge integer": "{'int': '0x' + 'f' * 8000000}",
    "many lists": "[[]] * 1500000",
    "many tuples": "[{'tuple': [1, 2, 3]}] * 300000",
    "a deep list": "deep",
    "a deque of a forged length": "{'deque': [[1], -5]}",
    "an odd deque": "{'deque': 3}",
    "an odd iterator": "{'iterator': 3}",
    "an iterator": "{'iterator': [1]}",
    "an odd object": "{'obj': [[]]}",
    "digits beyond the reader's": "'9' * 8000000",
}
DEEP = "deep = 1\nfor _ in range(900): deep = [deep]\n"


@pytest.mark.parametrize("value", VALUES)
def test_a_forged_value_fails_at_once(value) -> None:
    source = "import sys\nsys.setrecursionlimit(100000)\n" + DEEP + FORGED.replace("VALUE", VALUES[value])
    for name, row in ROWS.items():
        start = time.monotonic()
        verdict = make("code", {"case_seconds": 5.0, "total_seconds": 2.0}).judge(VerifierInput("", source, None, row))
        if name == "assert f(1) == [1]" or not (verdict.passed and value in ("an iterator", "many lists")):
            assert verdict.passed is False, (name, verdict)
        assert time.monotonic() - start < 15.0, name


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
