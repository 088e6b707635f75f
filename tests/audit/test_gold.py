"""The data's own gold answers are tried before a run: the wrong column shows before a weight is loaded."""

from __future__ import annotations

import pytest

from prerlkit.audit.gold import try_gold
from prerlkit.audit.samples import AuditRow, from_data, spread
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig
from prerlkit.recipe.sources import Data
from prerlkit.verify import VerifierInput


def rows(*answers: str | None) -> list[AuditRow]:
    return [
        AuditRow(f"train/{i}", VerifierInput("", "", answer, {"answer": answer})) for i, answer in enumerate(answers)
    ]


def use(name: str, **settings) -> VerifierConfig:
    return VerifierConfig(name=name, settings=settings)


def test_gold_answers_that_pass_are_counted():
    (line,) = try_gold([use("math")], rows("4", r"\frac{1}{2}", "Tuesday"), None)
    assert line == 'gold answers: 3 of 3 pass verifier "math"'


def test_an_answer_that_fits_in_no_box_is_left_out():
    """MATH has one: `2007+\\frac{\\}{p}i2`. It must not stop every run on those rows."""
    (line,) = try_gold([use("math", extract="boxed")], rows("4", r"2007+\frac{\}{p}i2"), None)
    assert line == 'gold answers: 1 of 1 pass verifier "math"'


def test_some_that_cannot_be_judged_are_said():
    (line,) = try_gold([use("math")], rows("4", ""), None)
    assert line == 'gold answers: 1 of 2 pass verifier "math"; 1 unjudged: the gold answer is empty'


@pytest.mark.parametrize(
    ("verifier", "answer"),
    [
        (use("math", extract="last_number"), "Tuesday"),
        (use("prerlkit.verifiers.math:Math", extract="last_number"), "x"),
    ],
)
def test_a_gold_answer_that_fails_stops_with_the_row(verifier, answer):
    with pytest.raises(UsageError, match='verifier "math" fails 1 of 2 gold answers') as caught:
        try_gold([verifier], rows("7", answer), None)
    assert "Row train/1" in caught.value.message
    assert repr(answer) in caught.value.message
    assert "data.answer_pattern" in caught.value.hint


def test_whole_solutions_in_the_answers_place_stop():
    """GSM8K without answer_pattern: no completion can equal them, and a box around one would pass by its spelling."""
    solutions = rows("48/2 = 24\n48 + 24 = 72\n#### 72", "So 5 - 3 = 2.\n#### 2")
    with pytest.raises(UsageError, match="can judge none of 2 gold answers"):
        try_gold([use("math")], solutions, None)


def test_answers_of_which_none_can_be_judged_stop_too():
    with pytest.raises(UsageError, match=r'verifier "choice" can judge none of 2 gold answers .*Row train/0'):
        try_gold([use("choice")], rows("Paris", "Rome"), None)
    (line,) = try_gold([use("choice")], rows("Paris", "B"), None)
    assert "1 of 2 pass" in line


def test_a_verifier_that_does_not_say_how_gold_looks_is_left_out():
    (line,) = try_gold([use("regex", pattern="= (.*)")], rows("4"), None)
    assert line == 'verifier "regex" has no `gold_completion`, so gold answers are not tried before the run'
    assert try_gold([use("regex", must_match=["x"])], rows("4"), None) == ()  # it judges no answer


def test_each_of_several_verifiers_is_tried_by_itself():
    lines = try_gold([use("math"), use("format"), use("choice")], rows("4", "B"), None)
    assert [line.partition(";")[0] for line in lines] == [
        'gold answers: 2 of 2 pass verifier "math"',
        'gold answers: 1 of 2 pass verifier "choice"',
    ]


def test_reasoning_gym_rows_are_tried_by_their_own_column():
    row = {"task": "chain_sum", "question": "", "answer": "7", "metadata": {}}
    (line,) = try_gold([use("reasoning_gym")], [AuditRow("train/0", VerifierInput("", "", None, row))], None)
    assert "1 of 1 pass" in line


def test_rows_are_spread_over_the_data_and_filtered():
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert spread([1, 2], 4) == [1, 2]
    settings = {"low": 0, "high": 9}
    source = {"kind": "generator", "name": "arithmetic", "rows": 50, "settings": settings}
    data = {"train": source, "eval": {"kind": "held_out", "rows": 2}, "prompt": "{question}!"}
    drawn = from_data(Data.model_validate({**data, "filters": [{"column": "answer", "equals": 9}]}), None, 3)
    assert 1 <= len(drawn) <= 3
    assert {row.sample.answer for row in drawn} == {"9"}
    assert all(row.sample.prompt.endswith("?!") for row in drawn)
    with pytest.raises(UsageError, match="keep none of the 50 train rows"):
        from_data(Data.model_validate({**data, "filters": [{"column": "answer", "equals": -1}]}), None, 3)


def test_gold_answers_are_tried_where_the_chat_template_opens_a_thought():
    row = AuditRow("train/0", VerifierInput("user: 2 + 2?\nassistant: <think>\n", "", "B", {"answer": "B"}))
    (line,) = try_gold([use("choice")], [row], None)
    assert line == 'gold answers: 1 of 1 pass verifier "choice"'


def test_a_pattern_whose_group_can_hold_no_gold_answer_stops_with_the_row():
    with pytest.raises(
        UsageError, match=r'"regex" can pass no completion of 1 of 2 rows .*Row train/1.*"?3/4'
    ) as error:
        try_gold([use("regex", pattern=r"Answer: (\d+)")], rows("34", "3/4"), None)
    assert "data.answer_pattern" in error.value.hint


@pytest.mark.parametrize(
    "rules",
    [
        {"pattern": r"costs $(\d+)"},
        {"must_match": ["a", "x^y"]},
        {"must_not_match": ["x*"]},
        {"must_match": ["x"], "must_not_match": ["x"]},
    ],
)
def test_rules_that_no_completion_can_meet_are_refused(rules):
    with pytest.raises(UsageError, match=r"no(ne| completion)? could pass"):
        try_gold([use("regex", **rules)], rows("4"), None)
