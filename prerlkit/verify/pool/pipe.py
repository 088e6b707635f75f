"""What a runner and its worker say to each other: JSON in frames, each with its length in front, over two pipes.

JSON and not pickle, so that nothing a worker sends can run code in the training process. It is written as ASCII, which
carries lone surrogates and null bytes unharmed.

    runner → worker   hello {verifiers, folder, memory_bytes, check}     once
    worker → runner   {together, waits, seconds} when ready, or {error, hint, usage}     once
    runner → worker   batch {use, count, together}, then `count` samples
    worker → runner   `count` results, each sent as soon as it is known; between them {clock: false} and {clock: true}
                      around a verifier's one-time loading, whose time isn't the sample's
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Iterable
from typing import Any

from prerlkit.types import Verdict
from prerlkit.verify.base import VerifierInput
from prerlkit.verify.pool.bounds import bounded
from prerlkit.verify.pool.output import BoundedOutput

_LENGTH = struct.Struct("!I")
MAX_FRAME = 256 * 2**20  # bytes; a longer one means that the stream is broken
_CHUNK = 1 << 20  # bytes read at once


class Closed(Exception):  # noqa: N818 - said of a pipe, as is queue.Empty
    """The other side of the pipe is gone."""


class WorkerTimedOut(Exception):  # noqa: N818 - as above
    """The other side of the pipe did nothing for too long."""


def encode(message: Any) -> bytes:
    """A message as a frame. Values that JSON lacks become their `str()`.

    Raises:
        ValueError, TypeError, RecursionError: it is cyclic, too deep or too long, or has keys that are no strings.
    """
    body = json.dumps(message, default=str).encode("ascii")
    if len(body) > MAX_FRAME:
        raise ValueError(f"{len(body)} bytes are too long for a message")
    return _LENGTH.pack(len(body)) + body


def encode_sample(sample: VerifierInput) -> bytes:
    """A sample as a frame; see `encode` for the errors."""
    return encode([sample.prompt, sample.completion, sample.answer, dict(sample.row), sample.truncated, sample.tokens])


def decode_sample(message: Any) -> VerifierInput:
    prompt, completion, answer, row, truncated, tokens = message
    return VerifierInput(prompt, completion, answer, row, truncated, tokens)


def encode_verdict(verdict: Verdict, error: bool = False) -> bytes:
    """A verdict as a frame, its reason and details bounded. `error`: the verifier broke, it didn't say "unjudged"."""
    reason, details = bounded(verdict.reason), bounded(dict(verdict.details))
    return encode([verdict.score, verdict.passed, reason, details, error])


def decode_verdict(message: Any) -> tuple[Verdict, bool]:
    """A verdict, and whether the verifier broke.

    Raises:
        Closed: that is no verdict; whoever wrote it can't be talked to.
    """
    match message:
        case [None, None, str() as reason, dict() as details, bool() as error]:
            return Verdict(None, None, reason, bounded(details)), error
        case [float() | int() as score, bool() as passed, str() as reason, dict() as details, bool() as error]:
            if type(score) is not bool and 0 <= score <= 1:
                return Verdict(score, passed, reason, bounded(details)), error
    raise Closed


class Pipe:
    """Frames over a pair of file descriptors, each wait with a limit in seconds (None: for ever).

    Args:
        print_fd: what the other side prints. It is emptied by `output` during every wait.
    """

    def __init__(
        self, read_fd: int, write_fd: int, print_fd: int | None = None, output: BoundedOutput | None = None
    ) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._print_fd, self._output = print_fd, output
        for fd in (read_fd, write_fd, print_fd):
            if fd is not None:
                os.set_blocking(fd, False)
        self._buffer = bytearray()

    def send(self, frames: Iterable[bytes], timeout: float | None = None) -> None:
        """Write whole frames.

        Raises:
            Closed: the other end is closed.
            WorkerTimedOut: not all of it was taken in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        view = memoryview(b"".join(frames))
        while view:
            try:
                view = view[os.write(self._write_fd, view) :]
            except BlockingIOError:
                self._wait(self._write_fd, select.POLLOUT, deadline)
            except BrokenPipeError as error:
                raise Closed from error

    def receive(self, timeout: float | None = None) -> Any:
        """The next message.

        Raises:
            Closed: the other side is gone, or talks gibberish.
            WorkerTimedOut: no whole message came in time. What came of it is kept.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (body := self._take()) is None:
            try:
                data = os.read(self._read_fd, _CHUNK)
            except BlockingIOError:
                self._wait(self._read_fd, select.POLLIN, deadline)
                continue
            if not data:
                raise Closed
            self._buffer += data
        try:
            return json.loads(body)
        except (ValueError, RecursionError, MemoryError) as error:
            raise Closed from error

    def empty_output(self) -> None:
        """Take what the other side has printed so far, a chunk at most."""
        if self._print_fd is not None and self._output and not self._output.empty(self._print_fd):
            self._print_fd = None

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _wait(self, fd: int, event: int, deadline: float | None) -> None:
        """Wait for a descriptor. It is asked once more after the deadline: this thread itself may have been held up."""
        while True:
            poll = select.poll()
            poll.register(fd, event)
            if self._print_fd is not None:
                poll.register(self._print_fd, select.POLLIN)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = [ready_fd for ready_fd, _ in poll.poll(None if left is None else left * 1000)]
            if self._print_fd in ready:
                self.empty_output()
            if fd in ready:
                return
            if not ready or left == 0:
                raise WorkerTimedOut

    def _take(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_FRAME:
            raise Closed
        if len(self._buffer) < _LENGTH.size + length:
            return None
        body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        return body
