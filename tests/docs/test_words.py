"""The pages are written in plain words: an engineer whose first language isn't English reads each sentence once."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLAIN = {
    r"go on with|goes on\b|going on with": "continue, resume",
    r"beside": "next to, with, in addition to, compared with",
    r"anew": "again, from scratch",
    r"is told|hears|says so": "receives, prints, reports, declares",
    r"nobody|somebody|anybody": "no user, another process, the caller",
    r"of (its|their) own": "separate; its own",
    r"stands? in\b": "is in, precedes, replaces",
    r"puts? back": "restore",
    r"takes? over": "inherit, continue",
    r"by your word": "say the fact",
}


PACKAGES = ["prerlkit", "verifiers", "benchmarks", "examples", "recipes"]
SOURCES = sorted(path for top in PACKAGES for kind in ("*.py", "*.yaml") for path in (ROOT / top).rglob(kind))
WORD_LISTS = {"prose.py", "labels.py"}
"""Files with words that a model's answer may hold."""


def _found(page: Path) -> list[str]:
    """Return the lines of the page with words of the left column."""
    return [
        f"{page.name}:{number}: {match[0]!r}: write {plain}"
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        for pattern, plain in PLAIN.items()
        for match in re.finditer(rf"(?i)\b(?:{pattern})\b", line)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_uses_plain_words(page: Path) -> None:
    found = _found(page)
    assert not found, "\n".join(found)


def test_docstrings_comments_and_messages_use_plain_words() -> None:
    assert len(SOURCES) > 300
    found = [line for source in SOURCES if source.name not in WORD_LISTS for line in _found(source)]
    assert not found, "\n".join(found)


def test_the_pages_have_at_most_twenty_thousand_words() -> None:
    """As `python docs/words.py` counts them: without code, and without what is generated."""
    counter = runpy.run_path(str(ROOT / "docs" / "words.py"))
    assert 5_000 < sum(counter["pages"]().values()) <= 20_000
