"""The guest's end of the pipes to its host: marshal comes in, JSON goes out, in frames with their length in front."""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any, BinaryIO

try:  # the C half alone: `json` itself brings `re` and costs as much as the interpreter's start
    from _json import encode_basestring_ascii as _quote
except ImportError:
    from json import dumps as _quote


class Channel:
    """Receives from a buffered reader, sends to a descriptor."""

    def __init__(self, reader: BinaryIO, write_fd: int) -> None:
        self._reader, self._write_fd = reader, write_fd

    def receive(self) -> Any:
        """Return the next message. The process ends when the host has closed the pipe."""
        head = self._reader.read(4)
        body = self._reader.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
        if not body:
            os._exit(0)
        return marshal.loads(body)

    def close(self) -> None:
        """Close both ends. Nothing can be sent or received any more."""
        self._reader.close()
        os.close(self._write_fd)

    def send(self, message: Any) -> None:
        """Write a message of lists, dicts with text as keys, text, numbers, bools and None."""
        body = to_json(message).encode("ascii")
        view = memoryview(len(body).to_bytes(4, "big") + body)
        while view:
            view = view[os.write(self._write_fd, view) :]


def to_json(data: Any) -> str:
    """Return JSON like `json.dumps`. Floats keep every bit; NaN and infinities are written as Python reads them."""
    kind = type(data)
    if kind is str:
        return _quote(data)
    if data is None or kind is bool:
        return {None: "null", True: "true", False: "false"}[data]
    if kind is int:
        return repr(data)
    if kind is float:
        if data != data:
            return "NaN"
        return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(data) or repr(data)
    if kind is list or kind is tuple:
        return f"[{','.join([to_json(item) for item in data])}]"
    if kind is dict:
        return "{" + ",".join([f"{_quote(key)}:{to_json(value)}" for key, value in data.items()]) + "}"
    raise TypeError(f"{kind.__name__} can't be sent")
