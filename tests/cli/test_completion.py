"""The shell's completion: names and folders, without torch, so that a key press is answered in a moment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from prerlkit.cli import completion

SCRIPT = """
import atexit, sys
sys.argv[0] = "prerlkit"
atexit.register(lambda: print("heavy:", *({"torch", "transformers", "datasets"} & set(sys.modules)), file=sys.stderr))
from prerlkit.cli import main
main()
"""


@pytest.fixture
def complete(tmp_path):
    """A function that completes the last of some words as bash asks for it, in an empty folder."""

    def words(*typed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path,
            env={
                **os.environ,
                "_PRERLKIT_COMPLETE": "complete_bash",
                "COMP_WORDS": " ".join(("prerlkit", *typed)),
                "COMP_CWORD": str(len(typed)),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stderr.strip() == "heavy:", done.stderr
        return done.stdout.split()

    return words


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("run", "quickstart_d"), {"quickstart_dsrl"}),
        (("plan", "math_dsrl", "--gpu", "rtx40"), {"rtx4060", "rtx4060ti-16", "rtx4070", "rtx4080", "rtx4090"}),
        (("verifiers", "show", "cho"), {"choice"}),
        (("eval", "--preset", "gs"), {"gsm8k"}),
        (("resume", "runs/"), {"runs/one", "runs/other/"}),
    ],
)
def test_names_and_folders_are_offered_without_heavy_imports(complete, tmp_path, typed, offered):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "recipe.yaml").write_text("")
    (tmp_path / "runs" / "other").mkdir()
    assert set(complete(*typed)) == offered


def test_files_are_offered_next_to_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "mine.txt", "judge.py", ".hidden.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    assert completion.recipe_names("mi") == ["mine.yaml"]
    assert completion.recipe_names("m")[-2:] == ["mine.yaml", "models/"]
    assert completion.verifier_names("jud") == ["judge", "judge.py"]
    assert completion.run_folders("mod") == ["models/"]
    assert completion.recipe_names("no/such/folder") == []
    assert completion.recipe_names("~no-such-user-here/") == []


def test_runs_are_offered_before_anything_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "recipe.yaml").touch()
    assert completion.run_folders("") == ["runs/one", "runs/"]
