"""The prompt template, the gold answer and the filters, each on one row."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from prerlkit.data import template
from prerlkit.data.template import Answer, Template, as_text, each, fits_all, keeps
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import Filter

ROW = {"question": "7 + 5?", "answer": 12, "level": 2.0, "text": "so\n#### 1,200 ", "none": None, "tags": ["a", 1]}


def test_columns_are_filled_in_and_doubled_braces_are_braces() -> None:
    assert Template("Q{{x}}: {question} ({level})").fill(ROW, "train/0") == "Q{x}: 7 + 5? (2)"


def test_braces_in_a_rows_text_stay_as_they_are() -> None:
    assert Template("{question}").fill({"question": "{answer} {0} {{"}, "train/0") == "{answer} {0} {{"


def test_a_column_may_have_spaces_in_its_name() -> None:
    assert Template("{my question}").fill({"my question": "x"}, "train/0") == "x"


@pytest.mark.parametrize(
    "text",
    ["{question.__class__}", "{question[0]}", "{question!r}", "{question:>9}", "{question:{level}}", "{}", "{a} {}"],
)
def test_only_plain_columns_are_allowed(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a plain \{column\}"):
        Template(text)


@pytest.mark.parametrize("text", ["{question", "question}", "{a{b}}"])
def test_unbalanced_braces_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"data\.prompt"):
        Template(text)


def test_a_template_without_a_column_is_refused() -> None:
    with pytest.raises(UsageError, match="names no column"):
        Template("What is 7 + 5?")


def test_a_missing_column_names_the_row_and_the_nearest() -> None:
    with pytest.raises(UsageError, match=r'row train/3 has no column "qestion"; did you mean "question"'):
        Template("{qestion}").fill(ROW, "train/3")


def test_a_column_without_a_near_one_lists_all() -> None:
    row = {"problem": "1 + 1", "solution": "2", "level": 1}
    words = r'row train/0 has no column "question" \(known: level, problem, solution\)'
    with pytest.raises(UsageError, match=rf"data\.prompt: {words}"):
        Template("{question}").fill(row, "train/0")
    with pytest.raises(UsageError, match=rf"data\.answer: {words}"):
        Answer("question", None).of(row, "train/0")


def test_a_list_of_texts_is_one_a_line() -> None:
    assert Template("{tests}").fill({"tests": ["assert f(1)", "assert f(2)"]}, "train/3") == "assert f(1)\nassert f(2)"


@pytest.mark.parametrize(("name", "words"), [("none", r"is empty \(null\)"), ("tags", "holds a list")])
def test_a_column_without_text_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=f'row train/3: column "{name}" {words}'):
        Template(f"{{{name}}}").fill(ROW, "train/3")


@pytest.mark.parametrize(
    ("value", "text"),
    [(12, "12"), (-3, "-3"), (12.0, "12"), (0.1, "0.1"), (1e20, "1e+20"), (True, "True"), ("007", "007"), ("", "")],
)
def test_numbers_become_the_text_a_model_would_write(value: Any, text: str) -> None:
    assert as_text(value, "train/0", "answer") == text
    assert Answer("answer", None).of({"answer": value}, "train/0") == text


def test_the_pattern_takes_its_first_group_without_white_space() -> None:
    assert Answer("text", "#### (.*)").of(ROW, "train/0") == "1,200"
    assert Answer("answer", r"(\d)\d").of(ROW, "train/0") == "1"
    assert Answer(None, None).of(ROW, "train/0") is None


@pytest.mark.parametrize(
    ("name", "pattern", "words"),
    [
        ("answr", None, 'data.answer: row train/3 has no column "answr"; did you mean "answer"'),
        ("none", None, r'answer column "none" is empty \(null\)'),
        ("none", "(.)", r'answer column "none" is empty \(null\)'),
        ("tags", None, "holds a list"),
        ("question", "#### (.*)", r"row train/3: data.answer_pattern #### \(\.\*\) finds nothing.*7 \+ 5"),
        ("question", r"(x)|7", "finds nothing"),
        ("answer", "####", "has no group"),
        ("answer", "(", "is not a regular expression"),
        (None, "(.)", "data.answer names no column"),
    ],
)
def test_an_answer_that_isnt_there_names_row_and_column(name: str | None, pattern: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Answer(name, pattern).of(ROW, "train/3")


@pytest.mark.parametrize(
    ("condition", "value", "kept"),
    [
        ({"equals": 5}, 5, True),
        ({"equals": 5}, 6, False),
        ({"equals": 5}, "5", True),  # csv
        ({"equals": 1.0}, "1.0", True),
        ({"equals": 1}, "one", False),
        ({"equals": "5"}, 5, False),
        ({"equals": 1}, True, False),
        ({"equals": True}, True, True),
        ({"equals": False}, "false", True),
        ({"equals": False}, "0", False),
        ({"equals": 0}, 0, True),
        ({"equals": "a"}, "A", False),
        ({"any_of": ("a", "b")}, "b", True),
        ({"any_of": ("a", "b")}, "c", False),
        ({"at_least": 3}, 3, True),
        ({"at_least": 3}, 2.9, False),
        ({"at_least": 3}, "10", True),  # as text, 10 is below 3
        ({"at_most": 3}, 3, True),
        ({"at_most": 3}, 3.1, False),
        ({"at_most": 0}, -1, True),
        ({"matches": r"^\d+$"}, "12", True),
        ({"matches": r"^\d+$"}, "12a", False),
        ({"matches": r"^\d+$"}, 12, True),
        ({"matches": "."}, None, False),
        ({"at_most": 3}, None, False),
    ],
)
def test_filters(condition: dict, value: Any, kept: bool) -> None:
    assert keeps(Filter(column="c", **condition), {"c": value}, "train/0") is kept


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Filter(column="levl", equals=1), 'row train/3 has no column "levl"; did you mean "level"'),
        (Filter(column="question", at_least=1), "is '7 [+] 5[?]', which is no number"),
        (Filter(column="tags", at_most=1), "which is no number"),
        (Filter(column="question", matches="("), "data.filters, column question: .* is not a regular expression"),
    ],
)
def test_a_filter_that_cant_be_applied_names_the_column(rule: Filter, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        keeps(rule, ROW, "train/3")


def test_a_filter_has_one_condition() -> None:
    with pytest.raises(ValidationError, match=re.escape("exactly one of")):
        Filter(column="c", equals=1, at_least=1)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "^(?:(?:a*)*b)*$"])
def test_a_pattern_that_backtracks_without_end_is_one_message(monkeypatch, pattern):
    monkeypatch.setattr(template, "SECONDS", 0.1)
    monkeypatch.setattr(template, "AT_ONCE", 2)
    rows = {f"train/{n}": {"text": "b" if n != 4 else "a" * 40 + "!"} for n in range(6)}
    message = "row train/4: the regular expression takes too long: more than 0.1 s"
    with pytest.raises(UsageError, match=f"data.filters: {message}"):
        each(rows, "data.filters", fits_all([Filter(column="text", matches=pattern)]))
    with pytest.raises(UsageError, match=f"data.answer_pattern: {message}"):
        each(rows, "data.answer_pattern", Answer("text", f"(b|{pattern})").of)


def test_each_row_has_its_own_result_also_over_several_limits(monkeypatch):
    monkeypatch.setattr(template, "AT_ONCE", 2)
    rows = {f"train/{n}": {"text": str(n)} for n in range(5)}
    assert each(rows, "data.filters", fits_all([Filter(column="text", matches="[13]")])) == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert each({}, "data.filters", fits_all([])) == []


@pytest.mark.parametrize("pattern", ["(" * 5_000 + ")" * 5_000, "a{99999999999}", "["])
def test_a_pattern_that_does_not_compile_is_one_message(pattern):
    with pytest.raises(UsageError, match="is not a regular expression") as error:
        keeps(Filter(column="text", matches=pattern), {"text": "a"}, "train/0")
    assert len(error.value.message) < 500
