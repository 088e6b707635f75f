"""Generators: right answers, distinct rows, the same rows for the same seed, and errors that name the key."""

import re

import pytest

from prerlkit.data import generators
from prerlkit.data.generators import ArithmeticSettings, generate, generator
from prerlkit.errors import UsageError
from prerlkit.settings import Settings


def test_arithmetic_defaults_look_as_documented() -> None:
    rows = generate("arithmetic", 50, 0, {})
    for row in rows:
        a, b = re.fullmatch(r"What is (\d+) \+ (\d+)\?", row["question"]).groups()
        assert row["answer"] == str(int(a) + int(b))
        assert row["expression"] == f"{a} + {b}"


def test_every_row_that_exists_is_made_once_when_all_are_asked_for() -> None:
    """Numbers 1 and 2, three terms, + and *: 2³ · 2² = 32 questions; answers by hand for the mixed ones."""
    rows = generate("arithmetic", 32, 5, {"operations": ["+", "*"], "terms": 3, "low": 1, "high": 2})
    answers = {row["expression"]: row["answer"] for row in rows}
    assert len(answers) == 32
    assert answers["1 + 2 * 2"] == "5"  # not (1 + 2) * 2
    assert answers["2 * 2 + 1"] == "5"
    assert answers["2 * 2 * 2"] == "8"
    assert answers["2 + 2 + 1"] == "5"


def test_minus_and_negative_numbers() -> None:
    rows = generate("arithmetic", 12, 0, {"operations": ["-", "*", "+"], "low": -2, "high": -1})
    answers = {row["expression"]: row["answer"] for row in rows}
    assert answers["-1 - (-2)"] == "1"
    assert answers["-2 * (-1)"] == "2"
    assert answers["-2 + (-2)"] == "-4"


def test_chained_minus_goes_from_the_left() -> None:
    rows = generate("arithmetic", 27, 0, {"operations": ["-"], "terms": 3, "low": 1, "high": 3})
    assert {row["expression"]: row["answer"] for row in rows}["3 - 2 - 1"] == "0"


@pytest.mark.parametrize("high", [20, 10**15])
def test_rows_are_distinct_and_decided_by_the_seed(high: int) -> None:
    settings = {"high": high, "operations": ["+", "-"]}
    rows = generate("arithmetic", 150, 7, settings)
    assert len({row["question"] for row in rows}) == 150
    assert rows == generate("arithmetic", 150, 7, settings)
    assert rows != generate("arithmetic", 150, 8, settings)


def test_the_first_rows_are_pinned() -> None:
    """A change of the scheme would change everybody's data under the same seed."""
    assert [row["expression"] for row in generate("arithmetic", 3, 0, {})] == PINNED


def test_more_rows_than_exist_says_how_many_do() -> None:
    with pytest.raises(UsageError, match=r"only 400 exist"):
        generate("arithmetic", 401, 0, {"high": 19})
    assert len(generate("arithmetic", 400, 0, {"high": 19})) == 400


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"operation": ["+"]}, 'no setting operation; did you mean "operations"'),
        ({"operations": ["/"]}, "setting operations.0"),
        ({"operations": []}, "at least one of"),
        ({"operations": ["+", "+"]}, "each once"),
        ({"terms": 1}, "setting terms"),
        ({"terms": "2"}, "setting terms"),
        ({"low": 5, "high": 4}, r"low \(5\) is above high \(4\)"),
    ],
)
def test_wrong_settings_name_the_key(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        generate("arithmetic", 1, 0, settings)


def test_unknown_generator_names_the_nearest() -> None:
    with pytest.raises(UsageError, match='did you mean "arithmetic"'):
        generate("arithmetics", 1, 0, {})


def test_a_generator_is_one_function_and_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "REGISTRY", dict(generators.REGISTRY))

    class Nothing(Settings):
        pass

    @generator("same", Nothing)
    def same(settings: Nothing, rows: int, seed: int) -> list[dict]:
        return [{"question": f"{i}", "answer": f"{seed}"} for i in range(rows)]

    assert generate("same", 2, 9, {}) == [{"question": "0", "answer": "9"}, {"question": "1", "answer": "9"}]
    with pytest.raises(ValueError, match='named "arithmetic"'):
        generator("arithmetic", ArithmeticSettings)(same)


PINNED = ["86 + 89", "0 + 42", "53 + 34"]
