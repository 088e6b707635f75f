"""Write the generated tables into the pages, from the program: `python docs/tables.py`.

A table is between `<!-- KIND -->` or `<!-- KIND: NAME -->` and `<!-- end -->`. Kinds:
    metrics: of steps, evaluations, or a probe (NAME), from the catalogue
    presets: the algorithms' names with their five choices
    health: the conditions that a run warns of
    benchmarks: the presets of `prerlkit eval`
    packages: the parts of `prerlkit`, from the lowest to the highest
    verifier: what a built-in one does and its settings, as `prerlkit verifiers show NAME` prints them
    verdicts: the examples of a verifier (NAME), from its cases in tests/verifiers
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from prerlkit.evaluation.harness.presets import PRESETS as BENCHMARKS
from prerlkit.metrics.catalogue import OF_EVALUATIONS, OF_STEPS
from prerlkit.metrics.metric import Metric
from prerlkit.objective.choices import Advantage, Cispo, Clip, Constant, Gspo, Loss, Objective
from prerlkit.objective.presets import PRESETS
from prerlkit.probes.registry import known_probes
from prerlkit.train.health import RULES
from prerlkit.verify.describe import Setting, describe
from prerlkit.verify.registry import find

FOLDER = Path(__file__).resolve().parent
CASES = FOLDER.parent / "tests" / "verifiers"
PAGES = (
    "algorithms.md",
    "architecture.md",
    "evaluation.md",
    "metrics.md",
    "probes.md",
    "reliability.md",
    "verifiers.md",
)
TABLES = {"steps": OF_STEPS, "evaluations": OF_EVALUATIONS, **{probe.name: probe.metrics for probe in known_probes()}}
SOURCES = {
    "nsr-prerl": "2604.14142",
    "psr-prerl": "its ablation",
    "prerl": "its ablation",
    "grpo": "2402.03300, 2503.14476",
    "nsr-rl": "ablation of 2604.14142",
    "psr-rl": "ablation of 2604.14142",
    "dr-grpo": "2503.20783",
    "rloo": "2402.14740",
    "max-rl": "2602.02710",
    "gspo": "2507.18071",
    "cispo": "2506.13585, 2510.13786",
    "sft": "supervised",
    "w-reinforce": "2506.01347",
}
"""arXiv numbers of the presets."""
_DIRECTIONS = {"higher": "↑", "lower": "↓", "": ""}
TABLE = re.compile(
    r"(<!-- (metrics|presets|health|packages|benchmarks|verifier|verdicts)(?:: (\w+))? -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "".join(re.sub(r"(?<=\|)  +(?=\|)", " ", line) + "\n" for line in lines)


def metrics(name: str) -> str:
    """Return the table of the metrics of `name`, a key of TABLES."""
    of_name: Sequence[Metric] = TABLES[name]
    rows = ((f"`{m.name}`", m.unit, _DIRECTIONS[m.better], m.meaning) for m in of_name)
    return table(("name", "unit", "better", "what it is"), rows)


def presets(_: str) -> str:
    """Return the table of the presets."""
    rows = []
    for name, choices in PRESETS.items():
        one = Objective.model_validate(choices)
        words = (one.space, one.samples, _advantage(one.advantage), _loss(one.loss), one.aggregate.kind)
        rows.append((f"`{name}`", *words, SOURCES[name]))
    return table(("preset", "space", "samples", "advantage", "loss", "aggregate", "source (arXiv)"), rows)


def health(_: str) -> str:
    """Return the table of the conditions of health, from the docstrings of their rules."""
    rows = []
    for name, rule in RULES.items():
        text = " ".join((inspect.getdoc(rule) or "").split())
        assert text.startswith("Warn when "), name
        rows.append((f"`{name}`", text.removeprefix("Warn when ").removesuffix(".")))
    return table(("name", "condition"), rows)


def benchmarks(_: str) -> str:
    """Return the table of the benchmarks that an evaluation knows by name."""
    rows = []
    for name, preset in BENCHMARKS.items():
        where = ", ".join(part for part in (preset.source.config, preset.source.split) if part)
        rows.append((f"`{name}`", escaped(preset.about), f"`{preset.source.id}`, {where}", f"`{preset.verifier.name}`"))
    return table(("preset", "what it is", "on the Hub", "verifier"), rows)


def verifier(name: str) -> str:
    """Return what the file of a verifier says of it, and the table of its settings."""
    about = describe(find(name))
    if not about.settings:
        return f"\n{about.doc}\n\n"
    head = ("setting", "type", "default", "what it is")
    return f"\n{about.doc}\n\n{table(head, map(_setting, about.settings))}"


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
    """Return the completions of the sections `# example: KIND`, with the letter that they choose."""
    text = (CASES / "choice_cases.txt").read_text(encoding="utf-8")
    rows = []
    for kind, lines in re.findall(r"^# example: (.*)\n((?:\S \| .*\n)+)", text, re.MULTILINE):
        cases = [line.split(" | ", 1) for line in lines.splitlines()]
        (letter,) = {letter for letter, _ in cases}
        completions = ", ".join(f"`{escaped(completion)}`" for _, completion in cases)
        rows.append((kind, completions, "none" if letter == "-" else letter))
    return table(("kind", "completions", "chosen"), rows)


def escaped(text: str) -> str:
    """Return a text as it is written within a cell."""
    return text.replace("|", r"\|")


def packages(_: str) -> str:
    """Return the table of packages and modules: the floor of each, and the first paragraph of its docstring."""
    rows = []
    for name, floor in sorted(_floors().items(), key=lambda item: item[1]):
        if name == "__main__":
            continue
        path = FOLDER.parent / "prerlkit" / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        shown = name.replace(".", "/") + "/" * path.is_dir()
        rows.append((f"`{shown}`", f"{floor:g}", " ".join(text.partition("\n\n")[0].split())))
    return table(("part", "floor", "what it is"), rows)


def _floors() -> Mapping[str, float]:
    """Return the floor of each part, as the test of imports has it."""
    spec = importlib.util.spec_from_file_location("test_imports", FOLDER.parent / "tests" / "test_imports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    floors: Mapping[str, float] = module.RANKS
    return floors


def _advantage(choice: Advantage) -> str:
    match choice:
        case Constant():
            return f"constant, +{choice.positive:g}/−{choice.negative:g}"
        case _:
            return str(choice.kind)


def _loss(choice: Loss) -> str:
    match choice:
        case Clip():
            return f"clip {choice.low:g}/{choice.high:g}, dual {choice.dual:g}"
        case Gspo():
            return f"gspo {choice.low:g}/{choice.high:g}"
        case Cispo():
            return f"cispo, max {choice.max:g}"
        case _:
            return str(choice.kind)


_KINDS: Mapping[str, Callable[[str], str]] = {
    "metrics": metrics,
    "presets": presets,
    "benchmarks": benchmarks,
    "health": health,
    "packages": packages,
    "verifier": verifier,
    "verdicts": verdicts,
}


def generated(page: str) -> str:
    """Return the text of a page with its tables as the program has them."""
    return TABLE.sub(lambda found: f"{found[1]}{_KINDS[found[2]](found[3])}{found[4]}", page)


if __name__ == "__main__":
    for name in PAGES:
        file = FOLDER / name
        file.write_text(generated(file.read_text(encoding="utf-8")), encoding="utf-8")
