"""Files of rows: each line gets its verdict in its place, and a line that is no row is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prerlkit.audit.rows import judge, read, to_json
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import VerifierConfig


def write(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_verdicts_come_in_the_order_of_the_rows(tmp_path):
    rows = [{"completion": rf"\boxed{{{n % 3}}}", "answer": 1} for n in range(200)]
    verdicts = list(judge(VerifierConfig(name="math"), read(write(tmp_path, *rows)), None))
    assert [to_json(v) for v in verdicts[:3]] == [
        {"score": 0.0, "passed": False, "reason": "another answer"},
        {"score": 1.0, "passed": True, "reason": ""},
        {"score": 0.0, "passed": False, "reason": "another answer"},
    ]
    assert [v.passed for v in verdicts] == [n % 3 == 1 for n in range(200)]


def test_columns_reach_the_verifier(tmp_path):
    path = write(
        tmp_path, {"completion": "c", "answer": ["a"], "gold": 2.0, "prompt": "p", "tokens": 3, "truncated": True}
    )
    (sample,) = read(path)
    assert (sample.prompt, sample.answer, sample.tokens, sample.truncated) == ("p", None, 3, True)
    assert sample.row["answer"] == ["a"]
    assert read(path, answer="gold")[0].answer == "2"


def test_columns_of_another_shape_stay_in_the_row(tmp_path):
    row = {"completion": "c", "prompt": [{"role": "user"}], "tokens": [1, 2], "truncated": "no", "answer": None}
    (sample,) = read(write(tmp_path, row))
    assert (sample.prompt, sample.answer, sample.tokens, sample.truncated) == ("", None, 0, False)
    assert sample.row == row


def test_any_text_and_any_size_gets_a_verdict(tmp_path):
    texts = ["\ud800", "a\x00b", "x" * 2**20, "\\boxed{" * 100_000, r"\boxed{7}"]
    path = write(tmp_path, *({"completion": text, "answer": "7"} for text in texts))
    verdicts = list(judge(VerifierConfig(name="math"), read(path), None))
    assert [v.passed for v in verdicts] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2: each line must be a JSON object, not list"),
        ({"answer": "1"}, "line 2: the row has no completion"),
        ({"completion": 7}, "line 2: the row has a completion that is no text but int"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, message):
    path = write(tmp_path, {"completion": ""}, line)
    with pytest.raises(UsageError, match=message) as caught:
        read(path)
    assert "rows.jsonl" in caught.value.message


def test_lines_are_counted_as_an_editor_does(tmp_path):
    with pytest.raises(UsageError, match="line 3"):
        read(write(tmp_path, "", {"completion": ""}, "nonsense"))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"no\.jsonl can't be read: No such file"):
        read(tmp_path / "no.jsonl")
