"""Other users of the machine, hostile working directories, and text that would drive the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from prerlkit import files
from prerlkit.children import python, with_prerlkit
from prerlkit.cli.visible import VisibleConsole, visible
from prerlkit.policy import wheels
from prerlkit.sweep import execute
from prerlkit.types import Verdict
from prerlkit.verify.pool import pipe
from prerlkit.verify.pool.bounds import CUT, bounded


def test_a_link_of_another_user_is_not_followed(tmp_path, monkeypatch):
    """In a folder that others can write to, the temporary name was known before: a link there overwrote its target."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    old = tmp_path / f".report.html.{os.getpid()}"
    old.symlink_to(mine)
    files.write_text(tmp_path / "report.html", "the page")
    assert mine.read_text() == "mine"
    assert old.is_symlink()
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)
    known = files._temporary(tmp_path / "report.html")
    known.symlink_to(mine)
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "report.html", "the page")
    assert mine.read_text() == "mine"
    known.unlink(missing_ok=True)
    known.symlink_to(tmp_path)
    with pytest.raises(FileExistsError), files.new_folder(tmp_path / "report.html"):
        pass


def test_a_folder_that_is_a_link_at_its_place_is_replaced_and_what_it_points_to_stays(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("theirs")
    (tmp_path / "new").symlink_to(other)
    with files.new_folder(tmp_path / "new") as folder:
        (folder / "file").write_text("ours")
    assert (other / "file").read_text() == "theirs"
    assert (tmp_path / "new" / "file").read_text() == "ours"


def test_names_are_random_and_known_as_leftovers(tmp_path):
    names = {files._temporary(tmp_path / "a.json") for _ in range(50)}
    assert len(names) == 50
    for name in (*names, tmp_path / f".a.json.{os.getpid()}", next(iter(names)).with_name("x.y").with_suffix(".old")):
        assert files.is_leftover(name) is name.name.startswith(".")


def test_rights_follow_the_umask_or_the_callers_wish(tmp_path):
    before = os.umask(0o022)
    try:
        files.write_text(tmp_path / "public", "x")
        files.write_text(tmp_path / "private", "x", mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "public").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["pip", "prerlkit", "json", "sitecustomize"])
def test_a_child_imports_nothing_of_the_working_directory(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("open('it-ran', 'w')\nraise SystemExit(3)\n")
    command = {"pip": ["-m", "pip", "--version"], "prerlkit": ["-m", "prerlkit", "--help"]}.get(
        name, ["-c", "import json"]
    )
    subprocess.run(python(*command), cwd=tmp_path, env=with_prerlkit(os.environ), check=False, capture_output=True)
    assert not (tmp_path / "it-ran").exists()


def test_every_child_python_is_started_without_the_working_directory():
    root = Path(files.__file__).parent
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            if "[sys.executable" in line:
                assert '"-P"' in line or '"-I"' in line, f"{path}: {line}"
    assert execute.command_of.__module__ == "prerlkit.sweep.execute"
    assert wheels.python is python
    assert python("x") == [sys.executable, "-P", "x"]


def deep(levels):
    value = "end"
    for _ in range(levels):
        value = {"in": [value]}
    return value


TOO_MUCH = (
    deep(970),
    deep(100_000),
    {"many": list(range(1_000_000))},
    {"long": "x" * 10_000_000},
    {str(n): n for n in range(99_999)},
    {"huge": 10**5_000},
    {"k" * 10_000_000: 1},
    {"texts": ["y" * 100_000] * 100},
)


@pytest.mark.parametrize("details", TOO_MUCH, ids=range(len(TOO_MUCH)))
def test_details_of_a_verdict_are_bounded(details):
    frame = pipe.encode_verdict(Verdict(1.0, True, "z" * 10_000_000, details))
    assert len(frame) < 10_000_000
    verdict, broke = pipe.decode_verdict(json.loads(frame[4:]))
    assert verdict.passed
    assert not broke
    assert len(verdict.reason) < 5_000_000
    json.dumps(verdict.details)
    assert CUT in json.dumps([verdict.details, verdict.reason], ensure_ascii=False)


def test_usual_details_stay_as_they_are():
    details = {"answer": "7", "scores": [0.5, None, True], "parts": {"a": {"b": [1, 2]}}, "big": 10**30}
    assert bounded(details) == details


def test_control_characters_are_written_out(capsys):
    assert (
        visible("a\x1b]0;title\x07b\tc\nd\re\u202ef\x9bg\ud800")
        == "a\\x1b]0;title\\x07b\tc\nd\\re\\u202ef\\x9bg\\ud800"
    )
    console = VisibleConsole(force_terminal=True, width=200, highlight=False)
    table = Table("key\x1b[2J")
    table.add_row("gold \x1b]52;c;aGk=\x07 answer")
    console.print("[bold]path[/bold] \x1b[31mred\x1b[8m", table)
    out = capsys.readouterr().out
    assert "\x1b[1m" in out  # the console's own
    for theirs in ("\x1b[2J", "\x1b]52", "\x07", "\x1b[31m", "\x1b[8m"):
        assert theirs not in out
    assert "\\x1b[31mred" in out


@pytest.mark.parametrize("text", ["\x1b]0;evil\x07", "\x9b2J", "\x1b[8mhidden"])
def test_commands_show_what_others_wrote_without_obeying_it(text, tmp_path):
    recipe = tmp_path / f"evil{text}.yaml"
    recipe.write_text(f'"key{json.dumps(text)[1:-1]}": 1\n')
    for command in (["recipes", "validate"], ["recipes", "show"], ["run"], ["report"]):
        done = subprocess.run(
            python("-m", "prerlkit", *command, str(recipe)),
            env=with_prerlkit(os.environ),
            capture_output=True,
            check=False,
        )
        for stream in (done.stdout, done.stderr):
            assert b"\x1b" not in stream
            assert b"\x07" not in stream
            assert b"\xc2\x9b" not in stream
