"""What the headers of the packaged recipes say of memory and hours, from their own plans.

    python -m benchmarks.recipes [NAME …]

For each recipe whose header names a card (`--gpu NAME`): the bytes of its tightest phase, whether it fits, and hours.
"""

from __future__ import annotations

import re
import sys

from prerlkit.plan.config import find_config
from prerlkit.plan.device import card
from prerlkit.plan.hours import guess_hours
from prerlkit.plan.plan import make_plan
from prerlkit.recipe.load import load, packaged


def main() -> None:
    for name, path in packaged().items():
        found = re.search(r"--gpu (\S+)", path.read_text(encoding="utf-8"))
        if not found or (sys.argv[1:] and name not in sys.argv[1:]):
            continue
        recipe, device = load(name).recipe, card(found[1])
        plan = make_plan(recipe, find_config(recipe.model), device)
        hours = guess_hours(recipe, plan)
        memory = f"{plan.needed / 2**30:.1f} GiB of {device.memory / 2**30:.1f} in {plan.tightest.name}"
        engine = f"vLLM {plan.engine.total / 2**30:.1f} GiB, {plan.engine.at_once:.0f} sequences at full length"
        print(
            f"{name} on {device.name}: {memory}, {'fits' if plan.fits else 'DOES NOT FIT'}; at most about "
            f"{hours or 0:.2g} hours; {engine}",
            flush=True,
        )


if __name__ == "__main__":
    main()
