"""Reads LiveCodeBench's private test cases: JSON, or base64 of a zlib stream of a pickled text of JSON.

The pickle is never loaded. Its instructions are read one by one, and only those that make one text are known here.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from functools import lru_cache
from typing import Any

from prerlkit.verify.code_tests.asserts import UnreadableTests

_LARGEST = 256 << 20  # bytes of one row's tests, unpacked
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_HARMLESS = ("PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP")


@lru_cache(maxsize=4)
def private_cases(text: str) -> Any:
    """Return the list of cases in the text of `private_test_cases`.

    Cached: the completions of a group share their row.

    Raises:
        UnreadableTests: it is in neither form, is too large, or pickles anything but one text.
    """
    if text.lstrip()[:1] not in ("[", "{"):
        text = _unpacked(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableTests(f"private_test_cases are no JSON: {error}") from error


def _unpacked(text: str) -> str:
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
        stream = zlib.decompressobj()
        data = stream.decompress(packed, _LARGEST)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise UnreadableTests(f"private_test_cases are neither JSON nor base64 of a zlib stream: {error}") from error
    if stream.unconsumed_tail:
        raise UnreadableTests(f"private_test_cases are larger than {_LARGEST >> 20} MiB when unpacked")
    if not stream.eof:
        raise UnreadableTests("private_test_cases are cut off: their zlib stream has no end")
    try:
        return data.decode() if data[:1] in (b"[", b"{") else _pickled_text(data)
    except UnicodeDecodeError as error:
        raise UnreadableTests(f"private_test_cases are no UTF-8: {error}") from error


def _pickled_text(data: bytes) -> str:
    """Return the one text that a pickle makes."""
    found: list[str] = []
    end = 0
    try:
        for opcode, argument, position in pickletools.genops(data):
            end = (position or 0) + 1
            if opcode.name in _TEXTS:
                found.append(str(argument))
            elif opcode.name in _BYTES:
                found.append(bytes(argument or b"").decode())
            elif opcode.name not in _HARMLESS:
                raise UnreadableTests(f"private_test_cases pickle more than a text ({opcode.name}); it is not loaded")
    except (ValueError, IndexError) as error:  # UnicodeDecodeError too
        raise UnreadableTests(f"private_test_cases are a broken pickle: {error}") from error
    if len(found) != 1 or end != len(data):
        raise UnreadableTests("private_test_cases pickle something else than one text; it is not loaded")
    return found[0]
