"""docs/troubleshooting.md speaks of warnings, messages, keys and commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer

from prerlkit.cli.app import app
from prerlkit.recipe.load import load, locate
from prerlkit.recipe.output import HealthName
from prerlkit.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
TEXT = PAGE.read_text(encoding="utf-8")
GUIDES = [PAGE, ROOT / "docs" / "first-hour.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def section(name: str) -> str:
    return re.split(r"^## ", TEXT.split(f"\n## {name}\n")[1], flags=re.MULTILINE)[0]


def test_every_warning_of_health_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", section("Warnings of a run"), re.MULTILINE)
    assert [name for name, *_ in rows] == list(get_args(HealthName))


def test_every_message_on_the_page_is_one_of_the_program():
    program = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "prerlkit").rglob("*.py")))
    program = re.sub(r'"\s*f?"', "", program)  # a text over several lines
    quoted = [quote for row in TEXT.splitlines() if row.startswith("| ") for quote in re.findall("`([^`]+)`", row)]
    parts = [part.strip() for quote in quoted if "…" in quote or quote.count(" ") > 2 for part in quote.split("…")]
    parts = [part for part in parts if " " in part and not part.startswith(("prerlkit ", "objective: ", "model."))]
    parts = [part for part in parts if part != "died twice in a row: OutOfMemoryError"]  # the class is Python's
    assert len(parts) >= 12
    assert [part for part in parts if part not in program] == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_keys_on_a_page_are_those_of_a_recipe(page):
    schema = Recipe.model_json_schema()
    properties = {name: part.get("properties", {}) for name, part in schema["$defs"].items()}
    known = {key for part in properties.values() for key in part}
    sections = {key: properties.get(_of(value), {}) for key, value in schema["properties"].items()}
    named = re.findall(r"`(\w+)\.(\w+)(?:\.(\w+))?\b[^`]*`", page.read_text(encoding="utf-8"))
    wrong = [
        names
        for names in named
        if names[0] in sections
        and (names[1] not in (sections[names[0]] or known) or (names[2] and names[2] not in known))
    ]
    assert wrong == []


def _of(value: dict) -> str:
    return str(value.get("$ref", "")).rpartition("/")[2]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_commands_in_the_text_can_be_given(page, tmp_path, monkeypatch):
    """Those in blocks too: their options are parsed as the program does, their recipes and keys are looked up."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(locate("quickstart_dsrl").read_text(encoding="utf-8"), encoding="utf-8")
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"`(prerlkit [^`\n]+)`", text) + re.findall(r"^(prerlkit .*)$", text, re.MULTILINE)
    for line in lines:
        node, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
        while hasattr(node, "commands"):
            node = node.commands[words.pop(0)]
        if not words:
            continue  # a command's name alone
        given = node.make_context("prerlkit", list(words)).params
        if recipe := given.get("recipe"):
            load(recipe, given.get("overrides") or [])
