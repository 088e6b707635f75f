"""Reads a row's tests, in the shapes that data sets of programming problems have.

HumanEval           test, entry_point (prompt: the code to complete)
MBPP                test_list, test_setup_code, test_imports (code: a right solution, for its names)
APPS                inputs, outputs, fn_name, in the row or as JSON in `input_output`
lists of cases      test_cases, tests or public_test_cases: {input, output} each, with fn_name or func_name
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prerlkit.verify.code_tests.asserts import Unreadable, defined_by

_NESTED = ("input_output", "verification_info")  # columns that may hold the tests as one JSON value
_LISTS = ("test_cases", "tests", "public_test_cases")
_FUNCTION = ("fn_name", "func_name", "entry_point")


@dataclass(frozen=True, slots=True)
class Asserts:
    """Tests as code."""

    units: tuple[str, ...]
    prompt: str = ""
    entry: str = ""
    targets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Calls:
    """A function's arguments and what it must return. `wrapped`: [x] may stand for x."""

    function: str
    cases: tuple[tuple[list[Any], Any], ...]
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class Programs:
    """Standard input and what a program must print."""

    cases: tuple[tuple[str, str], ...]


Problem = Asserts | Calls | Programs


def read(row: Mapping[str, Any]) -> Problem:
    """The tests of a row.

    Raises:
        Unreadable: there are none, or they make no sense.
    """
    for place in [row, *(_json(row[column]) for column in _NESTED if row.get(column))]:
        if isinstance(place, Mapping) and (found := _read(place, row)) is not None:
            return found
    raise Unreadable("the row has no tests: test, test_list, inputs and outputs, or test_cases")


def _read(place: Mapping[str, Any], row: Mapping[str, Any]) -> Problem | None:
    """The tests in one place: the row, or a JSON value in it."""
    test = place.get("test")
    if isinstance(test, str) and test.strip():
        entry = _text(place.get("entry_point") or row.get("entry_point"))
        prompt = _text(place.get("prompt") or row.get("prompt"))
        code = prompt if entry and f"def {entry}" in prompt else ""
        return Asserts((test,), code, entry, _targets(row))
    if place.get("test_list"):
        return _mbpp(place, row)
    if "inputs" in place and "outputs" in place:
        return _pairs(place, row)
    for column in _LISTS:
        if place.get(column):
            return _list(_json(place[column]), place, row)
    return None


def _mbpp(place: Mapping[str, Any], row: Mapping[str, Any]) -> Asserts:
    tests = _json(place["test_list"])
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise Unreadable("test_list is no list of texts")
    imports = _json(place.get("test_imports") or [])
    setup = "\n".join([*(map(str, imports) if isinstance(imports, list) else ()), _text(place.get("test_setup_code"))])
    units = (setup, *tests) if setup.strip() else tuple(tests)
    return Asserts(units, entry=_text(place.get("entry_point")), targets=_targets(row))


def _pairs(place: Mapping[str, Any], row: Mapping[str, Any]) -> Calls | Programs:
    inputs, outputs = _json(place["inputs"]), _json(place["outputs"])
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise Unreadable("inputs and outputs are not two lists of the same length, above 0")
    function = _text(place.get("fn_name") or row.get("fn_name"))
    if function:
        return Calls(function, tuple((_arguments(i), o) for i, o in zip(inputs, outputs, strict=True)), wrapped=True)
    return _programs(zip(inputs, outputs, strict=True))


def _list(cases: Any, place: Mapping[str, Any], row: Mapping[str, Any]) -> Problem:
    if not isinstance(cases, list) or not cases:
        raise Unreadable("the list of test cases is no list, or empty")
    if all(isinstance(case, str) for case in cases):
        return Asserts(tuple(cases), entry=_text(row.get("entry_point")), targets=_targets(row))
    if not all(isinstance(case, Mapping) and "input" in case and "output" in case for case in cases):
        raise Unreadable("a test case lacks input or output")
    metadata = _json(row.get("metadata") or {})
    places = [cases[0], place, row, metadata if isinstance(metadata, Mapping) else {}]
    function = next((_text(p[key]) for p in places for key in _FUNCTION if p.get(key)), "")
    stdin = cases[0].get("testtype", cases[0].get("type")) in ("stdin", "stdin_stdout", "stdio")
    if function and not stdin:
        return Calls(function, tuple((_arguments(c["input"]), _value(c["output"])) for c in cases))
    return _programs((case["input"], case["output"]) for case in cases)


def _programs(pairs: Iterable[tuple[Any, Any]]) -> Programs:
    cases = tuple((_lines(given), _lines(wanted)) for given, wanted in pairs)
    if not any(wanted.strip() for _, wanted in cases):
        raise Unreadable("every expected output is empty, so that a program that does nothing would pass")
    return Programs(cases)


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if not isinstance(value, str):
        raise Unreadable(f"an input or output is a {type(value).__name__}, not text")
    return value


def _arguments(value: Any) -> list[Any]:
    """A list, or text with one JSON value a line."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise Unreadable("a call's input is neither a list of arguments nor text")
    return [_value(line) for line in value.splitlines() if line.strip()]


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"a call's input or output is no JSON: {value[:80]!r}") from error


def _json(value: Any) -> Any:
    """A value, or the one that a text holds as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the tests are no JSON: {error}") from error


def _targets(row: Mapping[str, Any]) -> frozenset[str]:
    """Names that the row's own solution defines."""
    solutions = [row.get(column) for column in ("code", "canonical_solution", "solution")]
    return frozenset(name for text in solutions if isinstance(text, str) for name in defined_by(text))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def called(problem: Problem) -> str:
    """The function that the tests call; empty for programs, and where it can't be told."""
    match problem:
        case Calls():
            return problem.function
        case Asserts():
            if problem.entry or problem.targets:
                return problem.entry or min(problem.targets)
            found = re.search(r"\bassert\s+\(*(\w+)\(", "\n".join(problem.units))
            return found[1] if found else ""
        case Programs():
            return ""


def solutions(row: Mapping[str, Any]) -> list[str]:
    """A row's right solutions, where it has any: HumanEval's, MBPP's and APPS's columns."""
    try:
        several = _json(row.get("solutions"))
    except Unreadable:
        several = None
    listed = several if isinstance(several, list) else []
    return [
        text
        for text in [row.get("canonical_solution"), row.get("code"), row.get("solution"), *listed]
        if isinstance(text, str) and text.strip()
    ]
