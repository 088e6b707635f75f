"""More than twenty wrong data files: each is refused with its name, the line or row, and what is wrong there."""

from __future__ import annotations

import io
import json

import pytest
from ruamel.yaml import YAML


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[dict]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


FINE = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(9)]
PARQUET = parquet(FINE)

# name of the file, its bytes, what the message must say
WRONG: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "empty jsonl": ("rows.jsonl", b"", ("rows.jsonl has no rows",)),
    "blank lines only": ("rows.jsonl", b"\n\n \n", ("rows.jsonl has no rows",)),
    "a byte order mark and nothing": ("rows.jsonl", b"\xef\xbb\xbf", ("rows.jsonl has no rows",)),
    "empty json": ("rows.json", b"", ("rows.json has no rows",)),
    "empty csv": ("rows.csv", b"", ("rows.csv has no rows",)),
    "a csv of its header alone": ("rows.csv", b"question,answer\n", ("rows.csv has no rows",)),
    "empty parquet": ("rows.parquet", b"", ("rows.parquet has no rows",)),
    "truncated parquet": ("rows.parquet", PARQUET[:-40], ("rows.parquet", "parquet")),
    "parquet without its end": ("rows.parquet", PARQUET[: len(PARQUET) // 2], ("rows.parquet", "parquet")),
    "jsonl called parquet": ("rows.parquet", jsonl(*FINE), ("rows.parquet", "not a readable parquet")),
    "a picture called jsonl": ("rows.jsonl", b"\x89PNG\r\n\x1a\n\0\0", ("rows.jsonl, line 1", "UTF-8")),
    "a cut last line": ("rows.jsonl", jsonl(*FINE)[:-9], ("rows.jsonl, line 9", "cut off")),
    "a broken line in the middle": ("rows.jsonl", jsonl(FINE[0]) + b"{oops\n" + jsonl(FINE[1]),
                                    ("rows.jsonl, line 2", "not valid JSON")),
    "a line that is a list": ("rows.jsonl", jsonl(FINE[0], [1, 2]), ("rows.jsonl, line 2", "object, not list")),
    "a line that is a number": ("rows.jsonl", jsonl(FINE[0], 7), ("rows.jsonl, line 2", "object, not int")),
    "Latin-1": ("rows.jsonl", jsonl(FINE[0]) + '{"question": "café"}\n'.encode("latin-1"),
                ("rows.jsonl, line 2", "not UTF-8")),
    "UTF-16": ("rows.jsonl", "{}".encode("utf-16"), ("rows.jsonl, line 1", "not UTF-8")),
    "a huge line that is cut": ("rows.jsonl", b'{"question": "' + b"x" * 2_000_000, ("rows.jsonl, line 1", "JSON")),
    "jsonl called json": ("rows.json", jsonl(*FINE), ("rows.json, line 2", "jsonl")),
    "a mapping called json": ("rows.json", b'{"data": []}', ("rows.json", "list of objects, not dict")),
    "a list of texts": ("rows.json", b'["a", "b"]', ("rows.json, item 0", "object, not str")),
    "deep json": ("rows.jsonl", b"[" * 100_000, ("rows.jsonl, line 1", "not valid JSON")),
    "a csv with a short line": ("rows.csv", b"question,answer\na,1\nb\n", ("rows.csv, line 3", "1 fields, but 2")),
    "a csv with a long line": ("rows.csv", b"question,answer\na,1,x\n", ("rows.csv, line 2", "3 fields, but 2")),
    "a csv with a column twice": ("rows.csv", b"question,question\na,b\n", ("rows.csv, line 1", '"question"')),
    "a csv with an open quote": ("rows.csv", b'question,answer\n"a,1\n', ("rows.csv, line 2", "not valid CSV")),
    "a csv with semicolons": ("rows.csv", b"question;answer\na;1\nb;2\n", ('no column "question"',)),
    "an unknown ending": ("rows.xlsx", b"PK", ("rows.xlsx", ".xlsx", "not known")),
    "no ending": ("rows", b"{}", ("rows", "not known")),
    "a missing column": ("rows.jsonl", jsonl({"questoin": "a", "answer": "1"}, {"questoin": "b", "answer": "2"}),
                         ('row train/0 has no column "question"', '"questoin"')),
    "a column that is missing later": ("rows.jsonl", jsonl(*FINE, {"answer": "1"}), ("train/9", '"question"')),
    "a missing answer": ("rows.jsonl", jsonl(*FINE, {"question": "a"}), ("train/9", 'no column "answer"')),
    "mixed types": ("rows.jsonl", jsonl(*FINE, {"question": [["a"]], "answer": "1"}),
                    ("train/9", '"question" holds a list')),
    "an answer that is a mapping": ("rows.jsonl", jsonl(*FINE, {"question": "x", "answer": {"v": 1}}),
                                    ("train/9", '"answer" holds a dict')),
    "an empty question": ("rows.jsonl", jsonl(*FINE, {"question": None, "answer": "1"}), ("train/9", "empty (null)")),
    "an empty answer": ("rows.jsonl", jsonl(*FINE, {"question": "x", "answer": None}), ("train/9", "empty (null)")),
    "one row": ("rows.jsonl", jsonl(FINE[0]), ("data.eval", "can't be held out of 1")),
    "the same row again and again": ("rows.jsonl", jsonl(*[FINE[0]] * 9), ("data.eval", "out of 1 different")),
    "a prompt over the limit": ("rows.jsonl", jsonl(*FINE, {"question": "x" * 500, "answer": "1"}),
                                ("longer than rollout.max_prompt_tokens (200)", "train/9")),
    "a gold answer that its verifier fails": ("rows.jsonl", jsonl(*FINE, {"question": "x", "answer": "Paris"}),
                                              ('"math" fails 1 of 10 gold answers', "'Paris'")),
}  # fmt: skip


def recipe(tiny_recipe, tmp_path, name: str) -> str:
    data = {"train": {"kind": "file", "path": name}, "eval": {"kind": "held_out", "rows": 2}}
    verifiers = [{"name": "math", "settings": {"extract": "last_number"}}]
    with (tmp_path / "mine.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tiny_recipe(data=data, verifiers=verifiers), file)
    return "mine.yaml"


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_data_file(refused, tiny_recipe, tmp_path, case):
    name, content, words = WRONG[case]
    (tmp_path / name).write_bytes(content)
    refused(words, 2, "run", recipe(tiny_recipe, tmp_path, name), "-o", "out")


def test_a_folder_and_nothing_at_all(refused, tiny_recipe, tmp_path):
    (tmp_path / "rows.jsonl").mkdir()
    refused(("rows.jsonl",), 2, "run", recipe(tiny_recipe, tmp_path, "rows.jsonl"), "-o", "out")
    (tmp_path / "train.jsonl").write_bytes(jsonl(*FINE))
    refused(("no such file", '"train.jsonl"'), 2, "run", recipe(tiny_recipe, tmp_path, "trian.jsonl"), "-o", "out")


def test_the_battery_is_as_large_as_it_says():
    assert len(WRONG) >= 20


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_what_the_battery_breaks_is_right(tiny_recipe, tmp_path, name, monkeypatch):
    """A byte order mark and a line of two million characters are no faults."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    monkeypatch.chdir(tmp_path)
    odd = jsonl(*FINE, {"question": "y", "answer": "1", "more": "x" * 2_000_000})
    (tmp_path / name).write_bytes(PARQUET if name.endswith("parquet") else b"\xef\xbb\xbf" + odd)
    done = CliRunner().invoke(app, ["run", recipe(tiny_recipe, tmp_path, name), "-o", "out", "--dry-run"])
    assert done.exit_code == 0, done.stderr
