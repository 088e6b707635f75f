"""Reads a row's tests, in the shapes that data sets of programming problems have.

HumanEval           test, entry_point (prompt: the code to complete)
LeetCodeDataset     the same, with entry_point `Solution().method` (prompt: imports and helpers, starter_code)
BigCodeBench        the same, with unittest classes in test (complete_prompt or code_prompt: the code to complete)
MBPP                test_list, test_setup_code, test_imports (code: a right solution, for its names)
APPS                inputs, outputs, fn_name, in the row or as JSON in `input_output`
lists of cases      test_cases, tests or public_test_cases: {input, output} each, with fn_name or func_name in the case,
                    its metadata, the row or the row's metadata; LiveCodeBench's private_test_cases come on top
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prerlkit.verify.code_tests.asserts import UnreadableTests, defined_by
from prerlkit.verify.code_tests.private import private_cases

_NESTED = ("input_output", "verification_info")  # columns that may hold the tests as one JSON value
_LISTS = ("test_cases", "tests", "public_test_cases")
_FUNCTION = ("fn_name", "func_name", "entry_point")
_PROMPTS = ("prompt", "complete_prompt", "code_prompt")  # columns that may hold the code to complete
_STDIN, _FUNCTIONAL = ("stdin", "stdin_stdout", "stdio"), ("functional", "function_call", "call")
_METHOD = re.compile(r"[A-Za-z_]\w*(?:\(\))?(?:\.[A-Za-z_]\w*)*")
_PREAMBLE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Asserts:
    """Tests as code. `entry`: a function, or `Class().method`. `prelude`: the data's judge gives common imports."""

    units: tuple[str, ...]
    prompt: str = ""
    entry: str = ""
    targets: frozenset[str] = frozenset()
    prelude: bool = False


@dataclass(frozen=True, slots=True)
class Calls:
    """A function's arguments and what it must return. `wrapped`: [x] may stand for x. `prompt`: code to complete."""

    function: str
    cases: tuple[tuple[list[Any], Any], ...]
    wrapped: bool = False
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Programs:
    """Standard input and what a program must print."""

    cases: tuple[tuple[str, str], ...]


Problem = Asserts | Calls | Programs


def read(row: Mapping[str, Any]) -> Problem:
    """The tests of a row.

    Raises:
        UnreadableTests: there are none, or they make no sense.
    """
    for place in [row, *(_json(row[column]) for column in _NESTED if row.get(column))]:
        if isinstance(place, Mapping) and (found := _read(place, row)) is not None:
            return found
    raise UnreadableTests("the row has no tests: test, test_list, inputs and outputs, or test_cases")


def _read(place: Mapping[str, Any], row: Mapping[str, Any]) -> Problem | None:
    """The tests in one place: the row, or a JSON value in it."""
    test = place.get("test")
    if isinstance(test, str) and test.strip():
        entry = _entry(_text(place.get("entry_point") or row.get("entry_point")))
        prelude = "(" in entry or bool(_text(row.get("starter_code")).strip())
        return Asserts((test,), _code_prompt(place, row, entry), entry, _targets(row), prelude)
    if place.get("test_list"):
        return _mbpp(place, row)
    if "inputs" in place and "outputs" in place:
        return _pairs(place, row)
    cases = _cases(place)
    return _read(cases, row) if isinstance(cases, Mapping) else None if cases is None else _list(cases, place, row)


def _cases(place: Mapping[str, Any]) -> Any:
    """The list of cases, private ones included; None where there is none."""
    column = next((column for column in _LISTS if place.get(column)), None)
    cases = None if column is None else _json(place[column])
    private = place.get("private_test_cases")
    if not private:
        return cases
    if isinstance(private, str):
        private = private_cases(private)
    if not isinstance(private, list) or not isinstance(cases, list | None):
        raise UnreadableTests("private_test_cases are no list of test cases")
    return [*(cases or ()), *private] or None


def _entry(text: str) -> str:
    """A function's name or `Class().method`; nothing where the row names none.

    Raises:
        UnreadableTests: it is another expression.
    """
    if text and not _METHOD.fullmatch(text):
        raise UnreadableTests(f"entry_point is neither a name nor Class().method: {text[:80]!r}")
    return text


def _code_prompt(place: Mapping[str, Any], row: Mapping[str, Any], entry: str) -> str:
    """The code that comes before the completion: the function to complete, or imports and helpers."""
    prompts = [_text(place.get(column) or row.get(column)) for column in _PROMPTS]
    beginnings = [prompt for prompt in prompts if entry and f"def {entry}" in prompt]
    return next(iter(beginnings or filter(_is_preamble, prompts)), "")


def _is_preamble(text: str) -> bool:
    """Whether a text is code that imports and defines, and does nothing else."""
    if "import " not in text and "def " not in text and "class " not in text:
        return False
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    quiet = (*_PREAMBLE, ast.Assign, ast.AnnAssign)
    said = [node for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return all(isinstance(node, quiet) or node in said for node in body) and any(
        isinstance(node, _PREAMBLE) for node in body
    )


def _mbpp(place: Mapping[str, Any], row: Mapping[str, Any]) -> Asserts:
    tests = _json(place["test_list"])
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise UnreadableTests("test_list is no list of texts")
    imports = _json(place.get("test_imports") or [])
    setup = "\n".join([*(map(str, imports) if isinstance(imports, list) else ()), _text(place.get("test_setup_code"))])
    units = (setup, *tests) if setup.strip() else tuple(tests)
    return Asserts(units, entry=_entry(_text(place.get("entry_point"))), targets=_targets(row))


def _pairs(place: Mapping[str, Any], row: Mapping[str, Any]) -> Calls | Programs:
    inputs, outputs = _json(place["inputs"]), _json(place["outputs"])
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise UnreadableTests("inputs and outputs are not two lists of the same length, above 0")
    function = _text(place.get("fn_name") or row.get("fn_name"))
    if function:
        pairs = tuple((_arguments(i), o) for i, o in zip(inputs, outputs, strict=True))
        return Calls(function, pairs, wrapped=True, prompt=_text(row.get("starter_code")))
    return _programs(zip(inputs, outputs, strict=True))


def _list(cases: Any, place: Mapping[str, Any], row: Mapping[str, Any]) -> Problem:
    if not isinstance(cases, list) or not cases:
        raise UnreadableTests("the list of test cases is no list, or empty")
    if all(isinstance(case, str) for case in cases):
        return Asserts(tuple(cases), entry=_entry(_text(row.get("entry_point"))), targets=_targets(row))
    if not all(isinstance(case, Mapping) and "input" in case and "output" in case for case in cases):
        raise UnreadableTests("a test case lacks input or output")
    kinds = {_text(case.get("testtype", case.get("type"))) for case in cases}
    if kinds & {*_STDIN} and kinds & {*_FUNCTIONAL}:
        raise UnreadableTests("some test cases are programs with stdin and some are calls of a function")
    function = "" if kinds & {*_STDIN} else _function(cases, place, row)
    if function:
        calls = tuple((_arguments(case["input"]), _value(case["output"])) for case in cases)
        return Calls(function, calls, wrapped="function_call" in kinds, prompt=_text(row.get("starter_code")))
    if kinds & {*_FUNCTIONAL}:
        raise UnreadableTests("the test cases call a function, and no fn_name, func_name or starter_code names it")
    return _programs((case["input"], case["output"]) for case in cases)


def _function(cases: Sequence[Mapping[str, Any]], place: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The function that cases call, by the first of: the cases, their metadata, the row, the starter code."""
    named = {name for case in cases for at in (case, _metadata(case)) if (name := _named(at))}
    if len(named) > 1:
        raise UnreadableTests(f"the test cases call several functions: {', '.join(sorted(named))}")
    places = (place, row, _metadata(place), _metadata(row))
    found = next(iter(named), "") or next((name for at in places if (name := _named(at))), "")
    if found or any(case.get("testtype", case.get("type")) not in _FUNCTIONAL for case in cases):
        return _entry(found)
    methods = re.findall(r"^\s+def (\w+)\(\s*self\b", _text(row.get("starter_code")), re.MULTILINE)
    return methods[0] if len(methods) == 1 else ""


def _named(place: Mapping[str, Any]) -> str:
    return next((_text(place[key]) for key in _FUNCTION if place.get(key)), "")


def _metadata(place: Mapping[str, Any]) -> Mapping[str, Any]:
    """A place's `metadata`, which may be JSON; other texts name no function."""
    try:
        found = _json(place.get("metadata"))
    except UnreadableTests:
        return {}
    return found if isinstance(found, Mapping) else {}


def _programs(pairs: Iterable[tuple[Any, Any]]) -> Programs:
    cases = tuple((_lines(given), _lines(wanted)) for given, wanted in pairs)
    if not any(wanted.strip() for _, wanted in cases):
        raise UnreadableTests("every expected output is empty, so that a program that does nothing would pass")
    return Programs(cases)


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if not isinstance(value, str):
        raise UnreadableTests(f"an input or output is a {type(value).__name__}, not text")
    return value


def _arguments(value: Any) -> list[Any]:
    """A list, or text with one JSON value a line."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise UnreadableTests("a call's input is neither a list of arguments nor text")
    return [_value(line) for line in value.splitlines() if line.strip()]


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnreadableTests(f"a call's input or output is no JSON: {value[:80]!r}") from error


def _json(value: Any) -> Any:
    """A value, or the one that a text holds as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnreadableTests(f"the tests are no JSON: {error}") from error


def _targets(row: Mapping[str, Any]) -> frozenset[str]:
    """Names that the row's own solution defines."""
    solutions = [row.get(column) for column in ("code", "canonical_solution", "solution")]
    return frozenset(name for text in solutions if isinstance(text, str) for name in defined_by(text))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def called(problem: Problem) -> str:
    """Return the name of the function that the tests call; empty for programs, and where it can't be known."""
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


def asked_for(problem: Problem) -> frozenset[str]:
    """The last names of what the tests call, where the row says them: of `Solution().two_sum` it is two_sum."""
    match problem:
        case Calls():
            return frozenset([problem.function.rpartition(".")[2]])
        case Asserts():
            return problem.targets | ({problem.entry.rpartition(".")[2]} - {""})
        case Programs():
            return frozenset()


def solutions(row: Mapping[str, Any]) -> list[str]:
    """A row's right solutions, where it has any: HumanEval's, MBPP's and APPS's columns."""
    try:
        several = _json(row.get("solutions"))
    except UnreadableTests:
        several = None
    listed = several if isinstance(several, list) else []
    return [
        text
        for text in [row.get("canonical_solution"), row.get("code"), row.get("solution"), *listed]
        if isinstance(text, str) and text.strip()
    ]
