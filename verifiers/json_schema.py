"""Checks that a completion is JSON, and that it fits a JSON Schema (draft 2020-12 unless the schema names another).

Needs the `jsonschema` package: `pip install 'prerlkit[json-schema]'`. References to schemas elsewhere are never
fetched; they leave the sample unjudged. Numbers are compared as they are written, not as floats: 19.99 is a multiple of
0.01. Text in a `<think>` block does not count. NaN, Infinity and more than 100 nested brackets fail. So does a
comparison that takes more than 0.25 s of processor time.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Hashable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal, NoReturn, Self

from pydantic import model_validator

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput
from prerlkit.verify.thinking import after_thinking

_DEEPEST = 100  # brackets within brackets: jsonschema recurses by several frames for each
_SMALLEST = -4_300  # exponent of a number's last digit; int() refuses more than 4,300 digits, too
_LANGUAGES = ("", "json")


class JsonSchemaSettings(Settings):
    """Where the schema comes from and where the JSON is looked for."""

    rules: dict[str, Any] | None = None
    """The schema itself, one for all rows."""
    column: str | None = None
    """The row's column that holds its schema, as an object or as JSON text. Give one of the two."""
    extract: Literal["auto", "whole", "fenced"] = "auto"
    """auto: the last fenced block that is JSON or names no language, else the whole completion. whole, fenced: only
    that."""

    @model_validator(mode="after")
    def _one_schema(self) -> Self:
        if (self.rules is None) == (self.column is None):
            raise ValueError("give rules, or the column that holds them")
        return self


class JsonSchema(Verifier):
    """Passes a completion that is valid JSON and fits the schema."""

    name = "json_schema"
    Settings = JsonSchemaSettings
    settings: JsonSchemaSettings
    needs_answer = False

    def __init__(self, settings: JsonSchemaSettings) -> None:
        super().__init__(settings)
        if importlib.util.find_spec("jsonschema") is None:  # here: a missing package stops the run, not each sample
            raise PrerlkitError(
                'The verifier "json_schema" needs the package jsonschema, which is not installed.',
                "Run: pip install 'prerlkit[json-schema]'",
            )
        self._last: tuple[str, Any] = ("", None)  # rows often share their schema, and checking one takes a millisecond
        self._kinds: dict[Any, Any] = {}  # jsonschema's validator classes, and ours made from them
        if settings.rules is not None and isinstance(made := self._checker(settings.rules), str):
            raise UsageError(f'verifier "json_schema", setting rules: {made}')

    def judge(self, sample: VerifierInput) -> Verdict:
        rules = self.settings.rules
        if self.settings.column is not None:
            rules = sample.row.get(self.settings.column)
        checker = self._checker(rules)
        if isinstance(checker, str):
            return Verdict.unjudged(f"the row's schema can't be used: {checker}")
        completion = after_thinking(sample.completion, sample.prompt)
        if completion is None:
            return Verdict.of(False, "the thought is not finished")
        blocks = _blocks(completion) if self.settings.extract != "whole" else []
        if not blocks and self.settings.extract == "fenced":
            return Verdict.of(False, "no fenced block")
        try:
            value = _parsed(blocks[-1], "```") if blocks else _parsed(completion)
        except (ValueError, RecursionError) as error:
            return Verdict.of(False, f"not valid JSON: {error}")
        if not _is_shallow(value):
            return Verdict.of(False, f"more than {_DEEPEST} brackets within each other")
        try:
            with cpu_limit():
                wrong = next(checker.iter_errors(value), None)
        except (TooExpensive, RecursionError):
            if _recurses_by_itself(checker):
                return Verdict.unjudged("the schema refers to itself without end")
            return Verdict.of(False, "takes too long to be compared with the schema")
        return Verdict.of(wrong is None, "" if wrong is None else f"{wrong.json_path}: {wrong.message[:200]}")

    def _checker(self, rules: Any) -> Any:
        """Return a validator for the schema, which may be JSON text, or the fault of the schema as text."""
        import jsonschema
        import referencing

        key = rules if isinstance(rules, str) else json.dumps(rules)
        if self._last[0] == key:
            return self._last[1]
        try:
            exact = _DECODER.decode(key)  # with numbers as they are written
            rules = json.loads(key)
        except (ValueError, RecursionError) as error:
            return f"it is not JSON: {error}"
        if not isinstance(rules, dict | bool):
            return f"a schema is an object, not {type(rules).__name__}"
        kind = jsonschema.validators.validator_for(rules, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(rules)
        except jsonschema.SchemaError as error:
            return f"no valid JSON Schema: {error.json_path}: {error.message[:200]}"
        if kind not in self._kinds:
            own = {"multipleOf": _multiple_of, "uniqueItems": _unique_items}
            if "divisibleBy" in kind.VALIDATORS:  # draft 3's name
                own["divisibleBy"] = _multiple_of
            types = kind.TYPE_CHECKER
            if types.is_type(1.0, "integer"):  # since draft 6
                types = types.redefine("integer", _is_integer)
            self._kinds[kind] = jsonschema.validators.extend(kind, own, type_checker=types)
        # An empty registry: by default jsonschema would fetch references from the network.
        self._last = key, self._kinds[kind](exact, registry=referencing.Registry())
        return self._last[1]

    def attacks(self, sample: VerifierInput) -> Mapping[str, str]:
        return {"JSON, empty object": "{}", "JSON, empty list": "[]", "JSON, null": "null", "JSON, empty text": '""'}

    gold = (
        GoldCase('{"name": "Ada"}', "pass", settings={"rules": {"required": ["name"]}}),
        GoldCase('Here it is:\n```json\n{"name": "Ada"}\n```', "pass", settings={"rules": {"required": ["name"]}}),
        GoldCase('Here it is: {"name": "Ada"}', "fail", settings={"rules": {"type": "object"}}),
        GoldCase('{"name": "Ada"', "fail", settings={"rules": {"type": "object"}}),
        GoldCase("{}", "fail", settings={"rules": {"required": ["name"]}}),
        GoldCase('{"age": "x"}', "fail", settings={"rules": {"properties": {"age": {"type": "integer"}}}}),
        GoldCase("NaN", "fail", settings={"rules": {"type": "number"}}),
        GoldCase("[" * 100_000, "fail", settings={"rules": {"type": "array"}}),
        GoldCase("", "fail", settings={"rules": {"type": "object"}}),
        GoldCase("[1]", "fail", settings={"rules": {"type": "array"}, "extract": "fenced"}),
        GoldCase("```json\r\n[1]\r\n```", "pass", settings={"rules": {"type": "array"}}),
        GoldCase('```json\n["```"]\n```', "pass", settings={"rules": {"type": "array"}}),
        GoldCase("<think>[1]</think>{}", "fail", settings={"rules": {"type": "array"}}),
        GoldCase("<think>{}</think>[1]", "pass", settings={"rules": {"type": "array"}}),
        GoldCase("19.99", "pass", settings={"rules": {"multipleOf": 0.01}}),
        GoldCase("19.995", "fail", settings={"rules": {"multipleOf": 0.01}}),
        GoldCase("1e999", "fail", settings={"rules": {"type": "number"}}),
        GoldCase('"' + "a" * 40 + '!"', "fail", settings={"rules": {"pattern": "^(a+)+$"}}),
        GoldCase("[]", "unjudged", settings={"rules": {"$ref": "#"}}),
        GoldCase("```\n[1]\n```", "pass", settings={"rules": {"type": "array"}, "extract": "fenced"}),
        GoldCase("```\n[1]\n```", "fail", settings={"rules": {"type": "array"}, "extract": "whole"}),
        GoldCase("[1]", "pass", row={"shape": {"type": "array"}}, settings={"column": "shape"}),
        GoldCase("[1]", "fail", row={"shape": '{"type": "object"}'}, settings={"column": "shape"}),
        GoldCase("[1]", "unjudged", row={"shape": '{"type": '}, settings={"column": "shape"}),
        GoldCase("[1]", "unjudged", row={"shape": {"type": "thing"}}, settings={"column": "shape"}),
        GoldCase("[1]", "unjudged", row={}, settings={"column": "shape"}),
    )  # fmt: skip


def _blocks(text: str) -> list[str]:
    """Return the fenced blocks that are JSON or name no language. A block that is never closed extends to the end."""
    blocks: list[str] = []
    fence, lines, keep = "", list[str](), False
    for line in text.replace("\r\n", "\n").split("\n"):
        bare = line.strip()
        if fence:
            lines.append(line)
            # A line of JSON ends with backticks only where they close the block: a text ends with a quotation mark.
            if bare.endswith(fence):
                lines[-1] = line.rstrip().removesuffix(fence) if bare.strip(fence[0]) else ""
                blocks += ["\n".join(lines)] * keep
                fence = ""
        elif bare.startswith(("```", "~~~")):
            rest = bare.lstrip(bare[0])
            fence, lines = bare[: len(bare) - len(rest)], []
            keep = rest.strip().lower() in _LANGUAGES
            if len(rest) > len(fence) and rest.endswith(fence):  # a block of one line
                rest = rest.removesuffix(fence)
                blocks.append(rest[4:] if rest[:4].lower() == "json" else rest)
                fence = ""
    return blocks + ["\n".join(lines)] * (keep and bool(fence))


def _parsed(text: str, close: str = "") -> Any:
    """Return the value of JSON text.

    Args:
        close: what may follow the JSON, and any text behind it: backticks that close a block within a line.

    Raises:
        ValueError: the text is no JSON, or has a number that is too large.
        RecursionError: it is nested too deeply.
    """
    text = text.strip().removeprefix("\ufeff").lstrip()
    value, end = _DECODER.raw_decode(text)
    rest = text[end:].lstrip()
    if rest and not (close and rest.startswith(close)):
        raise ValueError(f"text follows at character {end}")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


class _WrittenNumber(Decimal):
    """A number with a point or an exponent, as a decimal: a float would round it."""

    def __repr__(self) -> str:
        return str(self)


def _exact(number: str) -> Decimal:
    """Return a number without rounding it.

    Raises:
        ValueError: it is larger than a float, or has so many digits that arithmetic with it would take long.
    """
    try:
        value = _WrittenNumber(number)
        exponent = value.as_tuple().exponent
    except InvalidOperation:
        _refuse(number)
    if not math.isfinite(float(number)) or not isinstance(exponent, int) or exponent < _SMALLEST:
        raise ValueError(f"{number[:50]} has too many digits")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_exact)


def _is_shallow(value: Any) -> bool:
    """Return whether a value has at most `_DEEPEST` lists and objects within each other."""
    level = [value]
    for _ in range(_DEEPEST + 1):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not inner:
            return True
        level = [item for items in inner for item in items]
    return False


def _recurses_by_itself(checker: Any) -> bool:
    """Return whether a schema can't judge the plainest values either."""
    try:
        with cpu_limit():
            for value in ("null", "0", '""', "[]", "{}"):
                next(checker.iter_errors(json.loads(value)), None)
    except (TooExpensive, RecursionError):
        return True
    return False


def _multiple_of(validator: Any, divisor: Any, value: Any, schema: Any) -> Iterator[Any]:
    """Compare the decimals that were written: 19.99 is a multiple of 0.01, though the floats' remainder is not 0."""
    from jsonschema import ValidationError

    if validator.is_type(value, "number") and Fraction(value) % Fraction(divisor):
        yield ValidationError(f"{value!r} is not a multiple of {divisor!r}")


def _is_integer(checker: Any, value: Any) -> bool:
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _unique_items(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    """Compare all items at once: jsonschema compares lists and objects in pairs, in time that grows by the square."""
    from jsonschema import ValidationError

    if wanted and validator.is_type(value, "array") and len({_key(item) for item in value}) < len(value):
        yield ValidationError("the items are not unique")


def _key(value: Any) -> Hashable:
    """Return what equal JSON values have in common: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, list):
        return ("list", *map(_key, value))
    if isinstance(value, dict):
        return ("object", frozenset((name, _key(item)) for name, item in value.items()))
    return (isinstance(value, bool), value)
