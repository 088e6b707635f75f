"""How JSON may be written in a completion, which decimals are multiples, and what counts as content in tags."""

from __future__ import annotations

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
