"""Write the generated tables into the pages that have one: `python docs/tables.py`.

A table stands between `<!-- KIND: NAME -->` and `<!-- end -->`:

- `metrics`, of the catalogue: NAME is `steps`, `evaluations`, or a probe's name.
- `settings`, of a built-in verifier: NAME is the verifier's.
- `verdicts`, of the examples in tests/verifiers: NAME is `math` or `choice`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prerlkit.metrics.catalogue import OF_EVALUATIONS, OF_STEPS
from prerlkit.metrics.metric import Metric
from prerlkit.probes.registry import known_probes
from prerlkit.verify.describe import Setting, describe
from prerlkit.verify.registry import find

FOLDER = Path(__file__).resolve().parent
CASES = FOLDER.parent / "tests" / "verifiers"
PAGES = ("metrics.md", "probes.md", "verifiers.md")
METRICS = {"steps": OF_STEPS, "evaluations": OF_EVALUATIONS, **{probe.name: probe.metrics for probe in known_probes()}}
_DIRECTIONS = {"higher": "↑", "lower": "↓", "": ""}
_TABLE = re.compile(r"(<!-- (metrics|settings|verdicts): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the Markdown table of `rows` under `head`."""
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def metrics(name: str) -> str:
    """Return the table of a list of metrics."""
    return table(("name", "unit", "better", "what it is"), (_metric(each) for each in METRICS[name]))


def _metric(metric: Metric) -> Sequence[str]:
    return f"`{metric.name}`", metric.unit, _DIRECTIONS[metric.better], metric.meaning


def settings(name: str) -> str:
    """Return the table of a verifier's settings."""
    return table(("setting", "type", "default", "what it is"), map(_setting, describe(find(name)).settings))


def _setting(setting: Setting) -> Sequence[str]:
    default = setting.default if setting.default == "required" else f"`{setting.default}`"
    return f"`{setting.name}`", escaped(setting.kind), default, escaped(setting.doc)


def verdicts(name: str) -> str:
    """Return the table of a verifier's examples."""
    return {"math": _math, "choice": _choice}[name]()


def _math() -> str:
    """Return what passes and what fails for each gold answer of the section `## examples`."""
    text = (CASES / "math_cases.txt").read_text(encoding="utf-8").split("\n## examples\n")[1].split("\n\n")[0]
    cells: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        expected, gold, answer = line.split(" ;; ")
        cells.setdefault(gold, {"pass": [], "fail": []})[expected].append(f"`{escaped(answer)}`")
    rows = [(f"`{escaped(gold)}`", ", ".join(row["pass"]), ", ".join(row["fail"])) for gold, row in cells.items()]
    return table(("gold answer", "passes", "fails"), rows)


def _choice() -> str:
    """Return the completions of the sections `# example: KIND`, with the letter that each chooses."""
    text = (CASES / "choice_cases.txt").read_text(encoding="utf-8")
    rows = []
    for kind, lines in re.findall(r"^# example: (.*)\n((?:\S \| .*\n)+)", text, re.MULTILINE):
        cases = [line.split(" | ", 1) for line in lines.splitlines()]
        letters = {letter for letter, _ in cases}
        chosen = ", ".join("none" if letter == "-" else letter for letter in sorted(letters))
        rows.append((kind, ", ".join(f"`{escaped(text)}`" for _, text in cases), chosen))
    return table(("kind", "completions", "chosen"), rows)


def escaped(text: str) -> str:
    """Return a text as it is written within a cell."""
    return text.replace("|", r"\|")


KINDS: dict[str, Callable[[str], str]] = {"metrics": metrics, "settings": settings, "verdicts": verdicts}


def generated(page: str) -> str:
    """Return the text of a page with its tables as the code has them."""
    return _TABLE.sub(lambda found: f"{found[1]}{KINDS[found[2]](found[3])}{found[4]}", page)


if __name__ == "__main__":
    for name in PAGES:
        file = FOLDER / name
        file.write_text(generated(file.read_text(encoding="utf-8")), encoding="utf-8")
