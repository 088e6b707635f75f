"""Print the number of words written by hand on each page and in total: `python docs/words.py`.

Code blocks and generated parts, from `<!-- NAME -->` to `<!-- end -->`, do not count. CHANGELOG.md is not read.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LEFT_OUT = re.compile(
    r"^ *(`{3,}|~{3,}).*?^ *\1|<!-- (?!end)[^>]*-->.*?<!-- end -->|<!--.*?-->", re.DOTALL | re.MULTILINE
)


def words(text: str) -> int:
    """Return the number of words by hand in a page's text: what is between spaces and has a letter or a digit."""
    return sum(any(map(str.isalnum, part)) for part in _LEFT_OUT.sub(" ", text).split())


def pages() -> dict[str, int]:
    """Return the number of words by hand of README.md and of each page in docs/, by its path."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {file.relative_to(ROOT).as_posix(): words(file.read_text(encoding="utf-8")) for file in files}


if __name__ == "__main__":
    counts = pages()
    for name, count in counts.items():
        print(f"{count:7,}  {name}")
    print(f"{sum(counts.values()):7,}  in all")
