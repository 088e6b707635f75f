"""What the headers of the packaged recipes say of memory and hours, from their own plans.

    python -m benchmarks.recipes [--write] [NAME …]

For each recipe whose header names a card (`--gpu NAME`): the lines that its plan makes. `--write` writes them into it.
"""

from __future__ import annotations

import re
import sys

from prerlkit.plan.config import find_config
from prerlkit.plan.device import card
from prerlkit.plan.header import BLOCK, header_lines
from prerlkit.plan.plan import make_plan
from prerlkit.recipe.load import load, packaged


def main() -> None:
    names = [argument for argument in sys.argv[1:] if argument != "--write"]
    for name, path in packaged().items():
        text = path.read_text(encoding="utf-8")
        found = re.search(r"--gpu (\S+)", text)
        if not found or (names and name not in names):
            continue
        recipe = load(name).recipe
        plan = make_plan(recipe, find_config(recipe.model), card(found[1]))
        lines = header_lines(recipe, plan)
        print(f"{name}: {'fits' if plan.fits else 'DOES NOT FIT'}\n{lines}", flush=True)
        if "--write" in sys.argv:
            old = BLOCK.search(text)
            path.write_text(text.replace(old[0], lines) if old else text, encoding="utf-8")


if __name__ == "__main__":
    main()
