"""How JSON may be written in a completion, which decimals are multiples, and what counts as content in tags."""

from __future__ import annotations

import json
import time

import pytest

from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make


@pytest.mark.parametrize(
    ("completion", "passed"),
    [
        ('```json {"a":1}```', True),
        ('```{"a":1}```', True),
        ('~~~json\n{"a":1}\n~~~', True),
        ('- this:\n  ```JSON\n  {"a":1}\n  ```', True),
        ('```json\r\n{"a":"```"}\r\n```\r\nDone', True),
        ('```json\n{"a":"x\\n```\\ny"}\n```', True),
        ('```json\n{"a":1}```\nok', True),
        ('```json\n{"a":1}``` ok', True),
        ('```json\n{"a":1}', True),
        ('````json\n{"a":"```"}\n````', True),
        ('\ufeff{"a":1}', True),
        ('<think>```json\n[1]\n```</think>{"a":1}', True),
        ('<think>{"a":1}</think>', False),
        ('```python\nx\n```\n{"a":1}', False),
        ('```json\n{"a":1}\n```\n```json\n[1]\n```', False),
        ('```json\n[1]```\nor\n```json\n{"a":1}\n```', True),
        ('{"a":1}``` x', False),
        ('```json\n{"a":1}\n{"b":2}\n```', False),
        ("```json\n```", False),
    ],
)
def test_json_in_and_out_of_fences(completion, passed):
    verifier = make("json_schema", {"rules": {"type": "object"}})
    assert verifier.judge(VerifierInput("", completion)).passed is passed


@pytest.mark.parametrize("number", ["0.07", "1.1", "4.35", "19.99", "1e-2", "1e2", "100", "0", "-0.03", "1e300"])
def test_decimals_that_are_multiples(number):
    verifier = make("json_schema", {"rules": {"multipleOf": 0.01}})
    assert verifier.judge(VerifierInput("", number)).passed is True


@pytest.mark.parametrize("number", ["0.001", "0.015", "19.995", "1e-3", "-0.001"])
def test_decimals_that_are_none(number):
    verifier = make("json_schema", {"rules": {"multipleOf": 0.01}})
    assert verifier.judge(VerifierInput("", number)).passed is False


@pytest.mark.parametrize(
    ("rules", "number", "passed"),
    [
        ({"multipleOf": 1}, "1.000000000000000001", False),
        ({"multipleOf": 1}, "1.000000000000000000", True),
        ({"multipleOf": 0.01}, "-1e-999999999", False),
        ({"multipleOf": 0.01}, "1e-400", False),
        ({"multipleOf": 0.01}, "123456789012345678901.01", True),
        ({"multipleOf": 0.01}, "123456789012345678901.011", False),
        ({"multipleOf": 3}, "1e300", False),
        ({"multipleOf": 2}, "1e300", True),
        ({"multipleOf": 1e-300}, "0.5", True),
        ({"type": "integer"}, "1.000000000000000001", False),
        ({"type": "integer"}, "123456789012345678901234567890.5", False),
        ({"type": "integer"}, "123456789012345678901234567890.0", True),
        ({"type": "integer"}, "1e3", True),
        ({"type": "integer", "$schema": "http://json-schema.org/draft-04/schema#"}, "1.0", False),
        ({"type": "number"}, "1.5", True),
        ({"const": 1}, "1.000000000000000001", False),
        ({"const": 1}, "1.0", True),
        ({"const": 0.1}, "0.1", True),
        ({"const": 0.1}, "0.10", True),
        ({"const": 0.1}, "1e-1", True),
        ({"const": 0.1}, "0.1000000000000000055511151231257827", False),
        ({"const": {"a": [0.1]}}, '{"a": [0.1]}', True),
        ({"enum": [0.3, 0.7]}, "0.7", True),
        ({"enum": [0.3, 0.7]}, "0.69999999999999999", False),
        ({"minimum": 0.3}, "0.3", True),
        ({"minimum": 0.3}, "0.299999999999999999", False),
        ({"maximum": 1}, "1.0000000000000000001", False),
        ({"exclusiveMaximum": 1}, "0.99999999999999999999", True),
        ({"exclusiveMinimum": 0.1}, "0.1", False),
        ({"uniqueItems": True}, "[0.1, 0.10]", False),
        ({"uniqueItems": True}, "[1, 1.000000000000000001]", True),
        ({"maxItems": 2.0}, "[1, 2]", True),
        ({"maxItems": 2.0}, "[1, 2, 3]", False),
        ({"divisibleBy": 0.01, "$schema": "http://json-schema.org/draft-03/schema#"}, "19.99", True),
        ({"divisibleBy": 0.01, "$schema": "http://json-schema.org/draft-03/schema#"}, "19.991", False),
    ],
)
def test_numbers_are_compared_as_they_are_written(rules, number, passed):
    for verifier, row in [
        (make("json_schema", {"rules": rules}), {}),
        (make("json_schema", {"column": "schema"}), {"schema": rules}),
        (make("json_schema", {"column": "schema"}), {"schema": json.dumps(rules)}),
    ]:
        assert verifier.judge(VerifierInput("", number, row=row)).passed is passed


def test_a_schema_given_as_text_keeps_its_digits():
    row = {"schema": '{"const": 1.000000000000000001}'}
    verifier = make("json_schema", {"column": "schema"})
    assert verifier.judge(VerifierInput("", "1.000000000000000001", row=row)).passed is True
    assert verifier.judge(VerifierInput("", "1.000000000000000002", row=row)).passed is False
    assert verifier.judge(VerifierInput("", "1", row={"schema": '{"const": NaN}'})).passed is None


@pytest.mark.parametrize(
    "number",
    [
        "1e999999999",
        "1e-999999999",
        "1e-99999999999999999999",
        "1e99999999999999999999",
        "0." + "1" * 10**6,
        "1." + "0" * 10**6,
    ],
    ids=lambda number: number[:20],
)
def test_numbers_of_too_many_digits_fail_in_little_time(number):
    begun = time.process_time()
    verdict = make("json_schema", {"rules": {"multipleOf": 0.01}}).judge(VerifierInput("", number))
    assert (verdict.passed, "too many digits" in verdict.reason or "no JSON" in verdict.reason) == (False, True)
    assert time.process_time() - begun < 2


def test_a_reason_shows_numbers_as_they_are_written():
    verdict = make("json_schema", {"rules": {"maximum": 0.5}}).judge(VerifierInput("", "1.50"))
    assert verdict.reason == "$: 1.50 is greater than the maximum of 0.5"


INVISIBLE = (
    0x0, 0x1F, 0xA0, 0xAD, 0x301, 0x34F, 0x115F, 0x180E, 0x200B, 0x200C, 0x200D, 0x202E, 0x2028, 0x2060, 0x2800, 0x3000,
    0x3164, 0xFE0F, 0xFEFF, 0xE0020,
)  # fmt: skip


@pytest.mark.parametrize("code", INVISIBLE, ids=hex)
def test_what_cannot_be_seen_is_no_content(code):
    verifier = make("format", {})
    assert not verifier.judge(VerifierInput("", f"<think>a</think><answer>{chr(code)}</answer>")).passed
    assert verifier.judge(VerifierInput("", f"<think>a</think><answer>4{chr(code)}</answer>")).passed


@pytest.mark.parametrize("content", ["4", "あ", "é", "😀", "½", "e\u0301", "."])
def test_what_can_be_seen_is_content(content):
    assert make("format", {}).judge(VerifierInput("", f"<think>a</think><answer>{content}</answer>")).passed
