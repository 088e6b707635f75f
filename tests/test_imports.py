"""Imports point one way: types ← objective ← recipe ← policy, rollout, verify, data ← train ← plan ← cli."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import prerlkit
import prerlkit.verifiers

ROOT = Path(prerlkit.__file__).resolve().parent
CHECKOUT = Path(__file__).resolve().parents[1]  # the package may be installed elsewhere
RANKS = {
    **dict.fromkeys(
        (
            "types",
            "errors",
            "settings",
            "seeds",
            "suggest",
            "install",
            "interrupt",
            "files",
            "paths",
            "cache",
            "secrets",
            "quiet",
            "page",
            "children",
            "cpu_limit",
            "host_memory",
            "onednn",
            "cache",
            "metrics",
        ),
        0,
    ),
    **dict.fromkeys(("chat", "plugins"), 0.5),
    "objective": 1,
    "recipe": 2,
    **dict.fromkeys(("rollout", "verify", "data", "sandbox"), 3),
    "trust": 3.5,
    **dict.fromkeys(("policy", "verifiers", "audit", "evaluation"), 4),
    **dict.fromkeys(("probes", "runs", "engines"), 5),
    "train": 6,
    **dict.fromkeys(("evaluation.harness", "publish", "plan", "trackers"), 7),
    **dict.fromkeys(("compare", "sweep", "launch", "doctor"), 8),
    **dict.fromkeys(("report", "dose"), 9),
    "cli": 10,
    "api": 10.5,
    "__main__": 11,
}


def modules() -> Iterator[Path]:
    return (path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def room(parts: Sequence[str]) -> str:
    """A file's or module's room: the longest name in RANKS that it starts with."""
    names = [part.removesuffix(".py") for part in parts]
    return max((".".join(names[:n]) for n in (1, 2)), key=lambda name: (name in RANKS, len(name)))


def imported_rooms(path: Path) -> Iterator[tuple[str, int]]:
    """Rooms of prerlkit that a file imports anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("prerlkit."):
                yield room(name.split(".")[1:]), node.lineno


def test_every_import_points_down_and_rooms_of_one_floor_do_not_know_each_other():
    wrong, seen = [], 0
    for path in modules():
        own = room(path.relative_to(ROOT).parts)
        if own == "__init__":
            continue
        for other, line in imported_rooms(path):
            seen += 1
            if (own, other) == ("verify", "verifiers"):
                continue  # the registry asks that package for its path, to find what is in it by name
            if other != own and RANKS[other] >= RANKS[own]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {other}")
    assert seen > 100
    assert wrong == []


def test_the_table_of_rooms_lists_every_room():
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name.strip("/").replace("/", ".") for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    assert set(RANKS) - {"__main__"} == listed


def imported_modules(node: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """Modules of prerlkit that code imports, in functions too; not what only the type checker imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and child.module in known:
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield inner if inner in known else child.module
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in known)
        yield from imported_modules(child, known)


def test_no_module_imports_itself_through_others():
    """The commands too: they know nothing of the list that registers them."""
    names = {path: ".".join(("prerlkit", *path.relative_to(ROOT).with_suffix("").parts)) for path in modules()}
    known = {name.removesuffix(".__init__"): path for path, name in names.items()}
    graph = {
        name: {other for other in imported_modules(ast.parse(path.read_text(encoding="utf-8")), known) if other != name}
        for name, path in known.items()
    }
    assert "prerlkit.cli.guard" in graph["prerlkit.cli.run"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_built_in_verifiers_import_nothing_heavy():
    """A worker has to start in a blink."""
    files = [file for place in prerlkit.verifiers.__path__ for file in Path(place).glob("*.py")]
    assert len(files) >= 2
    for file in files:
        assert "torch" not in file.read_text(encoding="utf-8")


def test_files_stay_readable():
    """Under about 300 lines a file, under about 60 a function: past that there is a second room."""
    long_files = {p.name: n for p in modules() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 310}
    assert long_files == {}
    long_functions = [
        f"{path.name}:{node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno > 65
    ]
    assert long_functions == []


def test_every_file_that_the_pages_name_exists():
    """CONTRIBUTING and the pages; not the CHANGELOG, which names files of its day."""
    top = CHECKOUT
    named = [
        (page.name, name)
        for page in [top / "CONTRIBUTING.md", top / "README.md", *sorted((top / "docs").glob("*.md"))]
        for name in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text(encoding="utf-8"))
        if not name.startswith("path/") and not name.endswith("/rhyme.py")  # examples
    ]
    assert len(named) > 20
    assert [pair for pair in named if not ((top / pair[1]).exists() or (ROOT / pair[1]).exists())] == []
