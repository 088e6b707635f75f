"""What every case of the battery asserts: a paragraph that names the fault, an exit code, no folder, no traceback."""

from __future__ import annotations

import pytest


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """`refused(words, code, *args)` runs the command line and checks how it refuses."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def check(words: tuple[str, ...], code: int, *args: object, unchanged: bool = True, advice: bool = False) -> str:
        """`advice`: the message must say what to do, in a second line or at the end of the first."""
        before = sorted(tmp_path.rglob("*"))
        done = CliRunner().invoke(app, [str(arg) for arg in args])
        said = done.stderr.removeprefix("loading libraries\n")
        assert done.exit_code == code, f"exit code {done.exit_code}: {done.stdout}{said}"
        assert said.startswith(("error ", "Usage: ")), said
        assert "Traceback" not in said + done.stdout
        assert len(said) < 3000, "a message is a paragraph"
        flat = " ".join(said.split())
        told = len(said.splitlines()) > 1 or any(word in flat for word in ("did you mean", "known: ", "; give "))
        assert told or not advice, f"what to do is not said: {said}"
        for word in words:
            assert word in flat, f"{word!r} is not in: {said}"
        if unchanged:
            assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        return said

    return check
