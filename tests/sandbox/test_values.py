"""What crosses between processes: every plain value comes back as it was, everything else stays where it is."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prerlkit.sandbox.guest.channel import to_json
from prerlkit.sandbox.guest.values import pack, unpack

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
scalars |= st.complex_numbers(allow_nan=False) | st.fractions() | st.decimals(allow_nan=False)
hashable = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.frozensets(hashable, max_size=4)
    ),
    max_leaves=12,
)


def refuse(value: object) -> object:
    raise TypeError(f"opaque: {type(value).__name__}")


def there_and_back(value: object) -> object:
    return unpack(json.loads(to_json(pack(value, refuse))), refuse)


@given(values)
@settings(max_examples=300, deadline=None)
def test_plain_values_come_back_as_they_were(value) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


def test_values_that_are_easily_lost() -> None:
    assert math.isnan(there_and_back(float("nan")))
    assert there_and_back([float("inf"), float("-inf")]) == [math.inf, -math.inf]
    assert math.copysign(1, there_and_back(-0.0)) == -1
    assert there_and_back(10**5000) == 10**5000  # more digits than JSON's reader takes
    assert there_and_back("\ud800\0") == "\ud800\0"
    assert there_and_back({1: "a", "1": "b", (1,): "c"}) == {1: "a", "1": "b", (1,): "c"}
    assert there_and_back(True) is True
    assert there_and_back(range(3, 0, -1)) == range(3, 0, -1)
    assert there_and_back(Fraction(1, 3)) == Fraction(1, 3)
    assert there_and_back(Decimal("0.10")) == Decimal("0.10")
    assert there_and_back(bytearray(b"ab")) == bytearray(b"ab")


def test_an_instance_of_a_subclass_becomes_its_built_in_type() -> None:
    class Same(list):
        def __eq__(self, other: object) -> bool:
            return True

        def __iter__(self):
            return iter([7])

        __hash__ = None  # type: ignore[assignment]

    class Number(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class Colour(IntEnum):
        RED = 1

    point = namedtuple("point", "x y")
    for value, plain in (
        (Same([1, 2]), [1, 2]), (Number(3), 3), (Colour.RED, 1), (point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}), (OrderedDict(a=1), {"a": 1}),
    ):  # fmt: skip
        back = there_and_back(value)
        assert plain == back
        assert type(back) is type(plain)
    assert there_and_back(Number(3)) != 4


@pytest.mark.parametrize(
    "value", [object(), len, iter([]), {1: object()}, (n for n in ()), int, range(10**9), type("T", (), {})()]
)
def test_what_is_no_plain_value_is_opaque(value) -> None:
    with pytest.raises(TypeError, match="opaque"):
        pack(value, refuse)


def test_a_value_that_holds_itself_or_is_too_deep_is_refused() -> None:
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="too deeply"):
        pack(loop, refuse)


@pytest.mark.parametrize(
    "data",
    [
        {}, {"a": 1, "b": 2}, {"int": "x"}, {"set": [[1]]}, {"dict": [[{"dict": []}, 1]]}, {"what": 1}, {"tuple": 3},
        {"range": [0, 10**12, 1]}, {"range": [0, 1 << 70, 1]}, {"range": [0, 1, 0]}, {"Decimal": "1e999999"},
        {"Fraction": [1, 0]}, {"bytes": "zz"},
    ],
)  # fmt: skip
def test_forged_data_is_refused_and_costs_nothing(data) -> None:
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        unpack(data, refuse)
