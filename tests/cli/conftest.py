"""The real command line: a separate process, as a person starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML


@pytest.fixture
def prerlkit(tmp_path):
    """A function that runs `prerlkit ARGS` in an empty folder and gives the finished process, output as text."""

    def run(*args: str, env: dict[str, str] | None = None, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prerlkit", *map(str, args)]
        environment = {**os.environ, "COLUMNS": "160", **(env or {})}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """As `prerlkit`, but inside this process, which has torch loaded already."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, list(map(str, args)))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def recipe_file(tiny_recipe, tmp_path):
    """A function that writes the tiny recipe with changes and gives its path."""

    def write(**changes) -> Path:
        path = tmp_path / "tiny.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(tiny_recipe(**changes), file)
        return path

    return write
