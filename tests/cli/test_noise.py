"""What libraries print stays out of every command and of a program that uses the kit: stderr has our lines alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OURS = ("loading libraries", "checking: ", "merging ", "proving: ")


def noise(text: str) -> list[str]:
    """Return the lines that are not ours."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith(OURS)]


@pytest.fixture(scope="module")
def trained(tiny_recipe, tmp_path_factory):
    """The folder of a finished run, as `run`."""
    import prerlkit

    folder = tmp_path_factory.mktemp("noise")
    prerlkit.run(tiny_recipe(), folder / "run")
    return folder


def test_commands(trained):
    of_a_run = (("resume", "run"), ("eval", "run", "--problems", "2"), ("export", "run"), ("merge", "run"))
    for words in (*of_a_run, ("recipes", "validate", "run/recipe.yaml"), ("doctor",)):
        command = [sys.executable, "-m", "prerlkit", *words]
        done = subprocess.run(command, cwd=trained, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0 or words == ("doctor",), done.stderr  # 1 where a machine has no sandbox
        assert noise(done.stderr) == [], words


@pytest.mark.parametrize(
    "program",
    [
        "prerlkit.load_policy('run').answer('1')",
        "prerlkit.export('run', 'exported')",
        "prerlkit.merge('run', 'merged')",
        "prerlkit.run('run/recipe.yaml', 'again'); prerlkit.evaluate('again', problems=2)",
    ],
)
def test_programs(trained, program):
    code = f"import prerlkit; {program}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=trained,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert noise(done.stderr) == []
