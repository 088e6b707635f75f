"""One meaning per class name across the package and the built-in verifiers."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import prerlkit
import prerlkit.verifiers

PLACES = [Path(prerlkit.__file__).parent, *map(Path, prerlkit.verifiers.__path__)]
ALLOWED: dict[str, str] = {}
"""Names that stand for two things, each with the reason why a reader can't take one for the other."""


def defined() -> dict[str, set[str]]:
    """Files by the class names in them; a leading underscore makes no other name."""
    found = defaultdict(set)
    for place in PLACES:
        for path in place.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[node.name.lstrip("_")].add(str(path.resolve()))
    return found


def test_no_class_name_is_defined_twice():
    found = defined()
    assert len(found) > 200
    twice = {name: sorted(files) for name, files in found.items() if len(files) > 1 and name not in ALLOWED}
    assert twice == {}


def test_every_exception_is_still_one():
    found = defined()
    assert [name for name in ALLOWED if len(found[name]) < 2] == []
