"""Run folders and data from another person: one message, in bounded time and memory."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import time
from html.parser import HTMLParser

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from prerlkit.data import files
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.launch import output_folder
from prerlkit.recipe.load import load
from prerlkit.report.build import build
from prerlkit.runs import jsonl
from prerlkit.runs.run import Run


def rewrite(folder, change):
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**4_000, float("inf"), float("nan"), 1e308])
def test_a_number_beyond_all_floats_is_charted_as_one(value, make_run):
    folder = make_run(done=3)
    rewrite(folder, lambda lines: lines[1].update({"reward": value, "time/step": value}))
    assert build([folder]).render()


@pytest.mark.parametrize("value", ["x" * 1_000_000, ["a"], {"a": 1}, "\x1b[2J"])
def test_a_metric_that_is_no_number_is_one_message(value, make_run):
    folder = make_run(done=3)
    rewrite(folder, lambda lines: lines[1].update({"reward": value}))
    with pytest.raises(PrerlkitError, match=r"metrics\.jsonl, step 2: reward is no number") as caught:
        build([folder])
    assert len(str(caught.value)) < 1_000


def test_a_reason_of_300_000_characters_and_a_time_that_is_none_are_cut(make_run):
    folder = make_run(done=3)
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"exit_reason": "failed: " + "y" * 300_000, "wall_seconds": "long"}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert len(Run.open(folder).summary["exit_reason"]) == 1_000
    assert "y" * 2_000 not in build([folder]).render()


def test_an_endless_line_is_not_read(make_run, monkeypatch):
    folder = make_run(done=3)
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 100_000)
    path = folder / "samples.jsonl"
    path.write_text(json.dumps({"text": "x" * 1_000_000}) + "\n")
    assert list(Run.open(folder).samples()) == []
    (folder / "summary.json").write_text(json.dumps({"text": "x" * 1_000_000}))
    with pytest.raises(PrerlkitError, match="more than 100,000 bytes"):
        Run.open(folder)


def test_a_line_of_data_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 100_000)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + json.dumps({"a": "x" * 1_000_000}) + "\n")
    with pytest.raises(UsageError, match=r"line 2: longer than 100,000 bytes"):
        files.read(path)
    path.write_text('{"a": 1}\n{"a": 2}')
    assert files.read(path) == [{"a": 1}, {"a": 2}]


def test_a_small_parquet_file_of_millions_of_rows_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    schema = pyarrow.schema([("a", pyarrow.int8())])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        batch = pyarrow.table({"a": pyarrow.array(bytes(1_000_000), pyarrow.uint8()).cast(pyarrow.int8())}, schema)
        for _ in range(12):
            writer.write_table(batch)
    assert path.stat().st_size < 1_000_000
    begun = time.process_time()
    with pytest.raises(UsageError, match="has 12,000,000 rows, more than the 10,000,000"):
        files.read(path)
    assert time.process_time() - begun < 5


def test_a_description_shows_no_secret(make_run, monkeypatch):
    monkeypatch.setenv("WANDB_KEY", "0123456789abcdef")
    folder = make_run(done=2)
    lines = (folder / "recipe.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("description:")]
    kept.append("description: by 0123456789abcdef at https://tok3n@host/x")
    (folder / "recipe.yaml").write_text("\n".join(kept) + "\n")
    page = build([folder]).render()
    assert "0123456789abcdef" not in page
    assert "tok3n" not in page


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet", "rows.json"])
def test_a_pipe_or_device_under_a_files_name_is_refused_at_once(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="is no regular file"):
        files.read(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="is no regular file"):
        files.read(tmp_path / name)


@pytest.mark.parametrize("field", ["{seed:999999999}", "{name!r:>99999999}", "{0}", "{name.__class__}", "{", "{other}"])
def test_a_run_folder_has_no_fields_that_fill_memory(field):
    with pytest.raises(UsageError, match="other fields than"):
        output_folder(load("smoke", [f"output.folder='runs/{field}'"]).recipe)
    assert str(output_folder(load("smoke", ["output.folder='a/{name}/{seed}'", "seed=7"]).recipe)) == "a/smoke/7"


PAYLOAD = """\"><img src=x onerror=a(1)><script>a(1)</script><svg onload=a(1)>{{7*7}}</script>'`${alert(1)}"""


class _Acting(HTMLParser):
    """Collects the elements and attributes that act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object", "embed", "link", "base", "form", "meta"):
            self.found.append((tag, [name for name, _ in attrs]))
        self.found += [(tag, name) for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


def places(value, path=()):
    """Yield the place of each key and each value in JSON, of lists the first two."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), True
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value[:2]):
            yield from places(item, (*path, number))
    else:
        yield path, False


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "environment.json", "summary.json", "metrics", "samples", "probes", "evaluations"]
)
def test_markup_in_any_key_or_value_stays_text_or_is_one_message(name, make_run):
    """All 640 places were tried; here each sixteenth."""
    folder = make_run(done=4, tokens=2)
    plain = _Acting(build([folder]).render()).found
    file = folder / (name if "." in name else f"{name}.jsonl")
    whole = file.read_text()
    lines = [yaml.safe_load(whole)] if "." in name else [json.loads(line) for line in whole.splitlines()]
    for path, is_key in list(places(lines[0]))[::16]:
        first = copy.deepcopy(lines[0])
        at = first
        for part in path[:-1]:
            at = at[part]
        if is_key:
            at[PAYLOAD] = at.pop(path[-1])
        else:
            at[path[-1]] = PAYLOAD
        file.write_text("".join(json.dumps(line) + "\n" for line in [first, *lines[1:]]))
        with contextlib.suppress(PrerlkitError):
            assert _Acting(build([folder]).render()).found == plain, path


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("samples", ("completions", 0, "tokens"), "many"),
        ("samples", ("step",), "first"),
        ("probes", ("change", "groups", 0, "completions", 0, "pretrain", 0), "low"),
        ("evaluations", ("accuracy", "value"), "high"),
        ("evaluations", ("accuracy",), {"low": 1}),
    ],
)
def test_a_value_of_another_kind_is_one_message(name, place, value, make_run):
    """Before: a traceback."""
    folder = make_run(done=30, tokens=10)
    file = folder / f"{name}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    at = lines[0]
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(PrerlkitError, match="holds something else than a run writes there"):
        build([folder])
