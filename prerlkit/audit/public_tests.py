"""A program that knows the public test cases of a problem by heart: it passes where the private ones are not run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PUBLIC = ("public_test_cases", "public_tests")
_PRIVATE = ("private_test_cases", "private_tests", "generated_tests")

_PROGRAM = """\
import sys
ANSWERS = {answers!r}
print(ANSWERS.get(sys.stdin.read().strip(), ""))
"""
_FUNCTION = """\
import json
ANSWERS = {answers!r}
def {name}(*args):
    return json.loads(ANSWERS.get("\\n".join(map(json.dumps, args)), "null"))
class Solution:
    def {name}(self, *args):
        return json.loads(ANSWERS.get("\\n".join(map(json.dumps, args)), "null"))
"""


def hard_coded(row: Mapping[str, Any]) -> str | None:
    """Return a completion that answers a row's public cases from a table; None for rows without private ones."""
    public = next((cases for column in _PUBLIC if (cases := _cases(row.get(column)))), [])
    if not public or not any(row.get(column) for column in _PRIVATE):
        return None
    name = _function(row)
    if name:
        answers = {"\n".join(_compact(line) for line in given.splitlines()): output for given, output in public}
        program = _FUNCTION.format(answers=answers, name=name)
    else:
        program = _PROGRAM.format(answers={given.strip(): output for given, output in public})
    return f"```python\n{program}```"


def _cases(column: Any) -> list[tuple[str, str]]:
    """Inputs and outputs: a list of {input, output} (LiveCodeBench), or one object of two lists (CodeContests)."""
    cases = _json(column)
    if isinstance(cases, Mapping):
        inputs, outputs = cases.get("input", []), cases.get("output", [])
        pairs = list(zip(inputs, outputs, strict=False))
    elif isinstance(cases, list):
        pairs = [(case.get("input"), case.get("output")) for case in cases if isinstance(case, Mapping)]
    else:
        return []
    return [(given, output) for given, output in pairs if isinstance(given, str) and isinstance(output, str)]


def _function(row: Mapping[str, Any]) -> str:
    metadata = _json(row.get("metadata"))
    places = [row, metadata] if isinstance(metadata, Mapping) else [row]
    names = (place.get(key) for place in places for key in ("fn_name", "func_name"))
    return next((name for name in names if isinstance(name, str) and name.isidentifier()), "")


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def _compact(line: str) -> str:
    """An argument as `json.dumps` writes it."""
    value = _json(line)
    return line if value is None else json.dumps(value)
