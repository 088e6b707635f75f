"""The site: each page has a place in it, and the generated ones are of the program as it is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_one_place_in_the_site():
    placed = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(placed) == sorted(PAGES | {"index.md", "cli.md", "python.md", "recipe-keys.md"})


def test_the_site_has_four_parts():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    assert re.findall(r"^  - ([^:]+):$", nav, re.MULTILINE) == ["Tutorials", "How to", "Reference", "Background"]


def test_the_start_page_links_to_pages_only(pages):
    links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", pages.start())
    assert len(links) > 15
    assert {link.split("#")[0] for link in links if not link.startswith("http")} <= PAGES


def test_the_command_line_has_every_command_with_its_options(pages):
    text = pages.command_line()
    assert "## prerlkit run\n" in text
    assert "## prerlkit verifiers audit\n" in text
    assert "| `--start-from` | RUN[:STAGE] |" in text
    assert "| `--dry-run` | flag |" in text
    assert "[bold]" not in text
    assert "prerlkit run reach_dsrl  # a tiny model" in text


def test_the_page_of_a_recipes_keys_has_each_with_what_it_is(pages):
    from prerlkit.recipe.schema import Recipe

    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", pages.recipe_keys(), re.MULTILINE)
    schema = Recipe.model_json_schema()
    keys = [
        key
        for part in [schema, *schema["$defs"].values()]
        for key, field in part.get("properties", {}).items()
        if key not in ("kind", "name") or "const" not in field
    ]
    assert len(keys) > 170
    assert sorted(row[0] for row in rows) == sorted(keys)
    assert [row for row in rows if not row[1].strip() or not row[3].strip()] == []
    assert ("group_size", "whole number, ≥ 1", "`8`") in [row[:3] for row in rows]
    assert ("steps", "whole number, ≥ 0", "required") in [row[:3] for row in rows]


def test_the_site_is_built_without_a_warning(tmp_path):
    """Every link and anchor leads somewhere, every docstring can be read."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    assert "Callback" in (tmp_path / "python" / "index.html").read_text(encoding="utf-8")
