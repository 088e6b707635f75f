"""The README: short, its Python runs as it stands, and its pictures are made by the program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import prerlkit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short_and_its_first_command_is_on_the_first_screen():
    lines = TEXT.splitlines()
    assert len(lines) <= 120
    assert next(number for number, line in enumerate(lines, 1) if "prerlkit run" in line) < 20


def test_its_pictures_exist():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert len(pictures) >= 2
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 500_000, picture


def test_its_python_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """The block runs word for word; only the recipe's size is cut, by what `prerlkit.run` would be given by hand."""
    small = {"stages.warmup.steps": 1, "stages.rl.steps": 1, "evaluation.prompts": 2, "rollout.max_new_tokens": 8}
    run = prerlkit.run

    def shortened(*args: Any, **options: Any) -> Any:
        return run(*args, overrides=small, **options)

    monkeypatch.setattr(prerlkit, "run", shortened)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(block.strip().splitlines()) <= 7
    exec(compile(block, "README.md", "exec"), {})
    assert "->" in capsys.readouterr().out
    assert Path("runs/from_python/summary.json").is_file()
