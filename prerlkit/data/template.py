"""Turns a row into text: the `{column}` template, the gold answer, and the filters that pick rows."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import Filter
from prerlkit.suggest import nearest

Row = Mapping[str, Any]

T = TypeVar("T")

AT_ONCE = 2048
"""Rows whose patterns have one limit of time."""
SECONDS = 30.0
"""Processor time of the patterns on them. Ours: a thousand times what ordinary patterns need."""


class Template:
    """`data.prompt` or another text with columns, parsed once.

    It has only plain `{column}` fields: no attribute of a value is read, and nothing in a row is run.

    Args:
        key: the recipe's key that holds it, for errors.

    Raises:
        UsageError: on building, for unbalanced braces, `{}`, `{a.b}`, `{a[0]}`, `{a!r}`, `{a:…}`, or no field at all.
    """

    def __init__(self, text: str, key: str = "data.prompt") -> None:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UsageError(f"{key}: {error}", "Write {{ and }} for literal braces.") from error
        for _, field, spec, conversion in parts:
            if field is not None and (not field or spec or conversion or re.search(r"[.\[\]{}]", field)):
                raise UsageError(
                    f'{key}: "{{{field}{"!" + conversion if conversion else ""}{":" + spec if spec else ""}}}" '
                    "is not a plain {column}",
                    "Only a column's name may be in braces; write {{ and }} for literal braces.",
                )
        self._parts = [(literal, field) for literal, field, _, _ in parts]
        self._key = key
        if not self.columns:
            raise UsageError(f'{key}: "{text}" names no column, so that all rows would have the same text')

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the template names."""
        return tuple(field for _, field in self._parts if field)

    def fill(self, row: Row, where: str) -> str:
        """Return the text for a row. `where` names it in errors (`train/17`)."""
        return "".join(
            literal + (_field(column(row, field, where, self._key), where, field) if field else "")
            for literal, field in self._parts
        )


def _field(value: Any, where: str, name: str) -> str:
    """Return a column's text in a prompt. A list of texts, such as MBPP's tests, has one line for each."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return as_text(value, where, name)


def column(row: Row, name: str, where: str, key: str) -> Any:
    """Return row[name]; UsageError with the nearest column, or all of them, if it is missing."""
    if name not in row:
        raise UsageError(f'{key}: row {where} has no column "{name}"{nearest_column(name, map(str, row))}')
    return row[name]


def nearest_column(name: str, columns: Iterable[str]) -> str:
    """Return `suggest.nearest` for a column. It has to be nearer than other words: `question` is not `solution`."""
    return nearest(name, columns, cutoff=0.7)


def is_missing(value: Any) -> bool:
    """Return whether a row has no value here: None, or NaN, by which pandas writes missing numbers and texts alike."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any, where: str, name: str) -> str:
    """Return text unchanged and numbers in plain form (12.0 is 12, as a model would write it); else UsageError."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        raise UsageError(
            f'row {where}: column "{name}" is empty (null)',
            f'A filter drops such rows: {{column: {name}, matches: "."}}',
        )
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, bool | int):
        return str(value)
    raise UsageError(f'row {where}: column "{name}" holds a {type(value).__name__}, not text or a number')


class Answer:
    """`data.answer` and `data.answer_pattern`: the gold answer of a row.

    Raises:
        UsageError: on building, for a pattern that is no regular expression or has no group.
    """

    def __init__(self, name: str | None, pattern: str | None) -> None:
        self._name = name
        self._pattern = compiled(pattern, "data.answer_pattern") if pattern is not None else None
        if self._pattern and not self._pattern.groups:
            raise UsageError(f"data.answer_pattern: {pattern} has no group; put ( ) around the answer")
        if self._pattern and name is None:
            raise UsageError("data.answer_pattern is given, but data.answer names no column")

    def of(self, row: Row, where: str) -> str | None:
        """Return the answer as text; None where data.answer is null."""
        if self._name is None:
            return None
        value = column(row, self._name, where, "data.answer")
        if is_missing(value):
            raise UsageError(
                f'row {where}: the answer column "{self._name}" is empty (null)',
                f'Set data.answer: null if the verifier needs none, or filter: {{column: {self._name}, matches: "."}}',
            )
        text = as_text(value, where, self._name)
        if not self._pattern:
            return text
        match = self._pattern.search(text)
        if not match or match[1] is None:
            raise UsageError(
                f"row {where}: data.answer_pattern {self._pattern.pattern} finds nothing in column "
                f'"{self._name}": {text[-200:]!r}'
            )
        return match[1].strip()


def compiled(pattern: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{key}: {pattern[:200]} is not a regular expression: {error}") from error


def each(rows: Mapping[str, Row], key: str, of_row: Callable[[Row, str], T]) -> list[T]:
    """Return `of_row` of each row and its name, while the processor time of the recipe's patterns is limited.

    One limit for many rows: for a single one it costs ten times what an ordinary pattern does.

    Args:
        key: the recipe's key that has the patterns, for the error.

    Raises:
        UsageError: a pattern backtracks without end.
    """
    found: list[T] = []
    items, where = iter(rows.items()), ""
    while len(found) < len(rows):
        try:
            with cpu_limit(SECONDS):
                for where, row in islice(items, AT_ONCE):
                    found.append(of_row(row, where))
        except TooExpensive:
            raise UsageError(
                f"{key}: row {where}: the regular expression takes too long: more than {SECONDS:g} s of processor time "
                f"for {AT_ONCE:,} rows or fewer",
                "Write it without a repeat inside of a repeat, such as (a+)+.",
            ) from None
    return found


def fits_all(filters: Sequence[Filter]) -> Callable[[Row, str], bool]:
    """Return a function of a row and its name: whether the row fits all filters."""
    return lambda row, where: all(keeps(rule, row, where) for rule in filters)


def keeps(rule: Filter, row: Row, where: str) -> bool:
    """Return whether the row fits the filter. An empty (null) value fits none.

    Columns of a csv are text: there `equals: 5` means the text 5, and at_least reads the text as a number.
    """
    value = column(row, rule.column, where, "data.filters")
    if is_missing(value):
        return False
    if rule.equals is not None:
        return _same(value, rule.equals)
    if rule.any_of is not None:
        return any(_same(value, wanted) for wanted in rule.any_of)
    if rule.matches is not None:
        text = as_text(value, where, rule.column)
        return bool(compiled(rule.matches, f"data.filters, column {rule.column}").search(text))
    number = _number(value, where, rule.column)
    if rule.at_least is not None:
        return number >= rule.at_least
    return rule.at_most is not None and number <= rule.at_most


def _same(value: Any, wanted: str | int | float | bool) -> bool:
    if isinstance(value, str) and isinstance(wanted, bool):
        return value.strip().lower() == str(wanted).lower()
    if isinstance(value, str) and isinstance(wanted, int | float):
        try:
            return float(value) == wanted
        except ValueError:
            return False
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False  # in Python True equals 1
    return bool(value == wanted)


def _number(value: Any, where: str, name: str) -> float:
    if not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise UsageError(f'data.filters: row {where}, column "{name}" is {value!r}, which is no number')
