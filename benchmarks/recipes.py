"""What the headers of the packaged recipes and docs/memory.md say of memory and hours, from the recipes' own plans.

    python -m benchmarks.recipes [--write] [NAME …]

For each recipe whose header names a card (`--gpu NAME`): the lines and the row of the table that its plan makes.
`--write` writes them into the recipe and into the page; rows of other recipes stay.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from prerlkit.plan.config import find_config
from prerlkit.plan.device import card
from prerlkit.plan.header import BLOCK, TABLE, TABLE_HEAD, header_lines, table_row
from prerlkit.plan.plan import make_plan
from prerlkit.plan.traces import Traces
from prerlkit.recipe.load import load, packaged

PAGE = Path(__file__).resolve().parents[1] / "docs" / "memory.md"


def main() -> None:
    names = [argument for argument in sys.argv[1:] if argument != "--write"]
    traces: dict[str, Traces] = {}
    for name, path in packaged().items():
        text = path.read_text(encoding="utf-8")
        found = re.search(r"--gpu (\S+)", text)
        if not found or (names and name not in names):
            continue
        recipe = load(name).recipe
        config = find_config(recipe.model)
        plan = make_plan(recipe, config, card(found[1]), traces.setdefault(config, Traces(config, "cuda")))
        lines, row = header_lines(recipe, plan), table_row(name, recipe, plan)
        print(f"{name}: {'fits' if plan.fits else 'DOES NOT FIT'}\n{lines}{row}", flush=True)
        if "--write" in sys.argv:
            old = BLOCK.search(text)
            path.write_text(text.replace(old[0], lines) if old else text, encoding="utf-8")
            write_row(name, row)


def write_row(name: str, row: str) -> None:
    """Put the recipe's row into the page's table, which is sorted by name."""
    page = PAGE.read_text(encoding="utf-8")
    found = TABLE.search(page)
    assert found is not None
    rows = {old.split("`")[1]: old + "\n" for old in found[0].splitlines() if old.startswith("| `")}
    rows[name] = row
    table = TABLE_HEAD + "".join(rows[known] for known in sorted(rows))
    PAGE.write_text(page.replace(found[0], found[1] + table + found[2]), encoding="utf-8")


if __name__ == "__main__":
    main()
