"""Checks that a completion is JSON, and that it fits a JSON Schema (draft 2020-12 unless the schema names another).

Needs the `jsonschema` package: pip install 'prerlkit[json-schema]'. References to schemas elsewhere are never fetched.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, Self

from pydantic import model_validator

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.verify import GoldCase, Settings, Verdict, Verifier, VerifierInput

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


class JsonSchemaSettings(Settings):
    """Where the schema comes from and where the JSON is looked for."""

    rules: dict[str, Any] | None = None
    """The schema itself, one for all rows."""
    column: str | None = None
    """The row's column that holds its schema, as an object or as JSON text. Give one of the two."""
    extract: Literal["auto", "whole", "fenced"] = "auto"
    """auto: the last fenced block if there is one, else the whole completion. whole, fenced: only that."""

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
        if settings.rules is not None and isinstance(made := self._checker(settings.rules), str):
            raise UsageError(f'verifier "json_schema", setting rules: {made}')

    def judge(self, sample: VerifierInput) -> Verdict:
        rules = self.settings.rules
        if self.settings.column is not None:
            rules = sample.row.get(self.settings.column)
            if isinstance(rules, str):
                try:
                    rules = json.loads(rules)
                except (ValueError, RecursionError) as error:
                    return Verdict.unjudged(f"the row's schema is not JSON: {error}")
        checker = self._checker(rules)
        if isinstance(checker, str):
            return Verdict.unjudged(f"the row's schema can't be used: {checker}")
        text = self._text(sample.completion)
        if text is None:
            return Verdict.of(False, "no fenced block")
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return Verdict.of(False, f"not valid JSON: {error}")
        wrong = next(checker.iter_errors(value), None)
        return Verdict.of(wrong is None, "" if wrong is None else f"{wrong.json_path}: {wrong.message[:200]}")

    def _text(self, completion: str) -> str | None:
        blocks = _FENCED.findall(completion) if self.settings.extract != "whole" else []
        if blocks:
            return str(blocks[-1])
        return completion if self.settings.extract != "fenced" else None

    def _checker(self, rules: Any) -> Any:
        """A validator for the schema, or what is wrong with that, as text."""
        import jsonschema
        import referencing

        if not isinstance(rules, dict | bool):
            return f"a schema is an object, not {type(rules).__name__}"
        key = json.dumps(rules)
        if self._last[0] == key:
            return self._last[1]
        kind = jsonschema.validators.validator_for(rules, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(rules)
        except jsonschema.SchemaError as error:
            return f"no valid JSON Schema: {error.json_path}: {error.message[:200]}"
        # An empty registry: by default jsonschema would fetch references from the network.
        self._last = key, kind(rules, registry=referencing.Registry())
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
        GoldCase("```\n[1]\n```", "pass", settings={"rules": {"type": "array"}, "extract": "fenced"}),
        GoldCase("```\n[1]\n```", "fail", settings={"rules": {"type": "array"}, "extract": "whole"}),
        GoldCase("[1]", "pass", row={"shape": {"type": "array"}}, settings={"column": "shape"}),
        GoldCase("[1]", "fail", row={"shape": '{"type": "object"}'}, settings={"column": "shape"}),
        GoldCase("[1]", "unjudged", row={"shape": '{"type": '}, settings={"column": "shape"}),
        GoldCase("[1]", "unjudged", row={"shape": {"type": "thing"}}, settings={"column": "shape"}),
        GoldCase("[1]", "unjudged", row={}, settings={"column": "shape"}),
    )  # fmt: skip


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
