"""The pure parts of the code verifier: where the code is, what tests ask for, what counts as equal."""

from __future__ import annotations

import pytest

from prerlkit.verify.code_tests.asserts import UnreadableTests, count, job
from prerlkit.verify.code_tests.fences import code_of
from prerlkit.verify.code_tests.outputs import same_text, same_value
from prerlkit.verify.code_tests.simple import AssertedCall, cases


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("    return 1\n", "    return 1\n"),
        ("a\n```python\nx = 1\n```\nb", "x = 1\n"),
        ("```\nx\n```\n```py\ny\n```\n", "y\n"),
        ("```python\nx\n```\nIt prints:\n```text\n3\n```\n", "x\n"),
        ("```bash\nls\n```", "ls\n"),
        ("```python\nx = 1\ny", "x = 1\ny"),
        ("```python title=a\nx\n```", "x\n"),
        ("~~~python\nx\n~~~", "x\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
        ("  ```python\n  x\n  ```", "  x\n"),
        ("```python\n```", ""),
        ("", ""),
    ],
)
def test_the_code_is_the_last_python_block_or_all(completion: str, code: str) -> None:
    assert code_of(completion) == code


def test_a_megabyte_of_fences_is_read_at_once() -> None:
    assert code_of("```\n" * 250_000) == ""


def names(*units: str, **options) -> tuple[list[str], list[str]]:
    made = job(units, **options)
    return made["names"], made["imports"]


def test_the_completions_names_are_those_that_nobody_else_defines() -> None:
    assert names("assert f(1) == g(2)") == (["f", "g"], [])
    assert names("x = 3\nassert f(x) == len([x])") == (["f"], [])
    assert names("def helper(a):\n    return a\nassert helper(f(1))") == (["f"], [])
    assert names("assert math.floor(f(1)) == 1") == (["f"], ["math"])
    assert names("import math\nassert math.floor(f(1)) == 1") == (["f"], [])
    assert names("from solution import f, g\nassert f(1)") == (["f", "g"], [])
    assert names("assert sum(1, 2) == 3", targets={"sum"}) == (["sum"], [])
    # `isclose` is not the completion's where the row says what is.
    assert names("assert isclose(f(1), 1)", targets={"f"}) == (["f"], [])


def test_tests_that_ask_nothing_are_unreadable() -> None:
    for unit in ("assert len([1])", "f(1)", "assert (", "from solution import *\nassert f(1)"):
        with pytest.raises(UnreadableTests):
            job([unit])


def test_asserts_are_counted_where_they_stand() -> None:
    assert count(["assert f(1)\nfor i in (1, 2):\n    assert f(i)\nassert True"]) == 2
    assert (
        count(["def check(c):\n    assert c(1)\n    if c(2):\n        assert c(3)\n    else:\n        assert c(4)"])
        == 3
    )
    assert count(["def helper(a):\n    assert a\ntry:\n    assert f(1)\nexcept ValueError:\n    pass"]) == 0


def test_plain_asserts_become_calls_and_comparisons() -> None:
    found = cases(
        ["assert f([1, -2], key='a') == (3, {'b'})", "assert not f(1)\nassert abs(f(2) - 0.5) < 1e-6"], {"f"}, ""
    )
    assert found is not None
    assert [case.calls for case in found] == [
        (AssertedCall("f", ([1, -2],), {"key": "a"}),), (AssertedCall("f", (1,), {}),), (AssertedCall("f", (2,), {}),),
    ]  # fmt: skip
    assert found[0].holds([(3, {"b"})])
    assert not found[0].holds([(3, {"c"})])
    assert found[1].holds([[]])
    assert not found[1].holds([1])
    assert found[2].holds([0.5])
    assert not found[2].holds([0.6])
    check = cases(["def check(candidate):\n    'Text.'\n    assert candidate(1) == 2"], {"f"}, "f")
    assert check is not None
    assert check[0].calls == (AssertedCall("f", (1,), {}),)


@pytest.mark.parametrize(
    "unit",
    [
        "x = g()\nassert f(x)", "for i in (1, 2):\n    assert f(i)", "assert f(other)", "assert f(1) == other(2)",
        "assert [n for n in f(1)]", "assert f(1)[0] == 1", "assert f(1).real == 1", "assert f(*[1])", "assert f(**{})",
        "assert (lambda: f(1))()", "assert f(1) * 10**9", "assert f(f(1))", "assert __import__('os').system(f(1))",
        "assert open(f(1))", "def abs(x):\n    return 0\nassert abs(f(1)) == 0",
        "from mine import abs\nassert abs(f(1))",
        "import mine as math\nassert math.isclose(f(1), 1)", "@skip\ndef test_a():\n    assert f(1)", "assert 1 == 1",
        "def test_a(fixture):\n    assert f(1)", "assert f'{f(1)}' == '1'", "assert f(1) % 2 == 0",
    ],
)  # fmt: skip
def test_everything_else_is_left_to_the_judge(unit: str) -> None:
    assert cases([unit], {"f"}, "") is None


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("1\n2\n", "1  \n2", True), ("1\n2", "1 2", False), ("1", "2", False), ("0.5", "0.5000001", True),
        ("0.5", "0.51", False), ("1.0", "1", True), ("1", "1.0", False), ("1", "01", False), ("", "", True),
        ("a b", "a  b", True), ("a\n\nb", "a\n\nb\n\n", True), ("1000000.0", "1000000.5", True), ("nan", "nan", True),
        ("1e3", "1000", True), ("yes 0.1", "no 0.1", False), ("10.0", "1_0.0", False), ("0.5 1", "0.5", False),
    ],
)  # fmt: skip
def test_output_is_compared_line_by_line(expected: str, printed: str, same: bool) -> None:
    assert same_text(expected, printed, 1e-6) is same


class Same:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("expected", "value", "same"),
    [
        (1, 1, True), (1, 1.0, True), (1, True, False), (True, 1, False), (True, True, True),
        ([1, [2]], (1, (2,)), True),
        ([1], [1, 2], False), ([], None, False), (None, None, True), (0.3, 0.1 + 0.2, True), (0.3, 0.31, False),
        ("1", 1, False), ({"1": [2]}, {1: (2,)}, True), ({"1": 2}, {1: 2, 2: 3}, False), ([1], {1}, False),
        ({"a": 1}, [["a", 1]], False), (1.5, 10**400, False), (1, Same(), False), ([1], [Same()], False),
        ("a", Same(), False),
        (None, Same(), False), (float("nan"), float("nan"), True),
    ],
)  # fmt: skip
def test_values_are_compared_as_json_has_them(expected: object, value: object, same: bool) -> None:
    assert same_value(expected, value, 1e-6) is same


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("inf", "0", False), ("Infinity", "123", False), ("-inf", "inf", False), ("inf", "inf", True),
        ("1e999", "0", False), ("1e999", "1e998", False), ("1e999", "1e999", True), ("0.0", "1e999", False),
        ("nan", "nan", True), ("nan", "0", False), ("1.0", "1.0000001", True), ("10000000", "10000001", False),
    ],
)  # fmt: skip
def test_infinity_accepts_infinity_alone(expected, printed, same):
    assert same_text(expected, printed, 1e-6) is same


def test_whole_numbers_are_exact_and_floats_have_a_tolerance():
    infinity = float("inf")
    for value in (0, 1e308, -infinity, 10**400, float("nan")):
        assert not same_value(infinity, value, 1e-6)
        assert not same_value([infinity], [value], 1e-6)
    assert same_value(infinity, infinity, 1e-6)
    assert not same_value(10_000_000, 10_000_001, 1e-6)
    assert same_value(10_000_000, 10_000_000.5, 1e-6)
