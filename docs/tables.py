"""Write the tables of metrics into docs/metrics.md and docs/probes.md, from the catalogue: `python docs/tables.py`.

A table stands between `<!-- metrics: NAME -->` and `<!-- end -->`. NAME is `steps`, `evaluations`, or a probe's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prerlkit.metrics.catalogue import OF_EVALUATIONS, OF_STEPS
from prerlkit.metrics.metric import Metric
from prerlkit.probes.registry import known_probes

FOLDER = Path(__file__).resolve().parent
PAGES = ("metrics.md", "probes.md")
TABLES = {"steps": OF_STEPS, "evaluations": OF_EVALUATIONS, **{probe.name: probe.metrics for probe in known_probes()}}
_DIRECTIONS = {"higher": "↑", "lower": "↓", "": ""}
_TABLE = re.compile(r"(<!-- metrics: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(metrics: Sequence[Metric]) -> str:
    """Return the Markdown table of `metrics`."""
    head = "| name | unit | better | what it is |\n|---|---|---|---|\n"
    rows = (f"| `{m.name}` | {m.unit} | {_DIRECTIONS[m.better]} | {m.meaning} |\n" for m in metrics)
    return head + "".join(re.sub(r"\|  +\|", "| |", re.sub(r"\|  +\|", "| |", row)) for row in rows)


def generated(page: str) -> str:
    """Return the text of a page with its tables as the catalogue has them."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(TABLES[found[2]])}{found[3]}", page)


if __name__ == "__main__":
    for name in PAGES:
        file = FOLDER / name
        file.write_text(generated(file.read_text(encoding="utf-8")), encoding="utf-8")
