"""Local files: what is read, and that what can't be names its file and line."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from prerlkit.data.files import read
from prerlkit.errors import UsageError

ROWS = [{"question": "What is ½ + ½?", "answer": "1"}, {"question": "a\nb", "answer": "007"}]


def put(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_all_four_kinds_give_the_same_rows(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row) for row in ROWS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read(put(tmp_path, "a.jsonl", lines)) == ROWS
    assert read(put(tmp_path, "a.JSON", json.dumps(ROWS, indent=1))) == ROWS
    assert read(put(tmp_path, "a.csv", 'question,answer\r\nWhat is ½ + ½?,1\r\n"a\nb",007\r\n')) == ROWS
    assert read(tmp_path / "a.parquet") == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path, name: str) -> None:
    text = {"a.jsonl": '{"q": "1"}', "a.json": '[{"q": "1"}]', "a.csv": "q\n1\n"}[name]
    assert read(put(tmp_path, name, b"\xef\xbb\xbf" + text.encode())) == [{"q": "1"}]


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    assert read(put(tmp_path, "a.jsonl", '\n{"q": 1}\n\n  \n{"q": 2}\n')) == [{"q": 1}, {"q": 2}]
    assert read(put(tmp_path, "a.csv", "q,a\n1,2\n\n3,4\n")) == [{"q": "1", "a": "2"}, {"q": "3", "a": "4"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_huge_line_is_read_whole_and_the_csv_limit_is_put_back(tmp_path: Path, name: str) -> None:
    limit = csv.field_size_limit()
    long = "x" * 3_000_000
    text = json.dumps({"q": long}) if name == "a.jsonl" else f"q\n{long}\n"
    assert read(put(tmp_path, name, text)) == [{"q": long}]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    assert read(put(tmp_path, name, "")) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"q": 1}\n{"q": \n', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '{"q": 1}\n{"q": "cut o', r"line 2.*last line: the file may be cut off"),
        ("a.jsonl", '{"q": 1}\n[1]\n', "line 2: each line must be a JSON object, not list"),
        ("a.jsonl", b'{"q": 1}\n{"q": "\xff"}\n', "line 2: not UTF-8"),
        ("a.jsonl", '{"q": ' + "9" * 5000 + "}", "line 1: not valid JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not valid JSON"),
        ("a.json", '[{"q": 1},\n {"q" 2}]', "line 2: not valid JSON"),
        ("a.json", '{"q": 1}\n{"q": 2}\n', "(?s)line 2.*rename it"),
        ("a.json", '{"q": 1}', "must hold a list of objects, not dict"),
        ("a.json", '[{"q": 1}, 3]', "item 1: must be an object, not int"),
        ("a.csv", "q,a\n1,2\n1,2,3\n", "line 3: 3 fields, but 2 columns"),
        ("a.csv", "q,a\n1,2\n1\n", "line 3: 1 fields, but 2 columns"),
        ("a.csv", "q,q\n1,2\n", 'line 1: two columns are named "q"'),
        ("a.csv", 'q\n1\n"never closed\n', "line 3: not valid CSV"),
        ("a.csv", b"q\n1\n\xff\n", "line 3: not UTF-8"),
        ("a.parquet", b"PAR1 this is not one PAR1", "(?s)not a readable parquet file.*cut off"),
        ("a.txt", "x", r'the ending "\.txt" is not known'),
        ("a.jsnl", "x", r'did you mean "\.jsonl"'),
    ],
)
def test_what_cant_be_read_names_file_and_line(tmp_path: Path, name: str, content: bytes | str, words: str) -> None:
    path = put(tmp_path, name, content)
    with pytest.raises(UsageError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS * 100), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(UsageError, match="not a readable parquet file"):
        read(put(tmp_path, "b.parquet", whole[: len(whole) // 2]))


def test_a_folder_or_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(UsageError, match="can't be read"):
        read(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="can't be read"):
        read(tmp_path / "b.jsonl")
