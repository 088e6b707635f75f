"""Runs one whole program in a sandbox: text in, exit code and bounded output out."""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass

from prerlkit.sandbox.layers import Name
from prerlkit.sandbox.limits import Limits
from prerlkit.sandbox.process import Ended, Guest, TimedOut


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    Attributes:
        exit_code: as a shell has it; negative for a signal; None where it had to be ended.
        stopped: why it had to be ended, or nothing.
        stdout, stderr: what it wrote until then.
        seconds: from the moment that it could begin.
    """

    exit_code: int | None
    stopped: str
    stdout: bytes
    stderr: bytes
    seconds: float


def run(
    layer: Name, source: str, stdin: bytes, limits: Limits, seconds: float, bwrap: str | None = None
) -> Ran:  # fmt: skip
    """Run a program for at most that long.

    Raises:
        PrerlkitError: the sandbox doesn't work. Whatever the program does is no error.
    """
    pipes = [os.pipe() for _ in range(3)]
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
    open_here = {in_write, out_read, err_read}
    try:
        try:
            guest = Guest(layer, "program", limits, (in_read, out_write, err_write), bwrap)
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        with guest:
            guest.wait_ready()
            start = time.monotonic()
            deadline = start + seconds
            exit_code, stopped, flow = None, "", _Flow(in_write, out_read, err_read, stdin, limits.output, open_here)
            try:
                guest.send(source, deadline)
                stopped = flow.run(deadline)
                exit_code = None if stopped else guest.wait(deadline)
            except TimedOut:
                stopped = f"ran longer than {seconds:g} s"
            except Ended:
                stopped = "ended before it began"
            took = time.monotonic() - start
        return Ran(exit_code, stopped, bytes(flow.read[out_read]), bytes(flow.read[err_read]), took)
    finally:
        for fd in open_here:
            os.close(fd)


class _Flow:
    """Feeds stdin and collects stdout and stderr, until both are closed."""

    def __init__(self, stdin: int, stdout: int, stderr: int, text: bytes, most: int, open_here: set[int]) -> None:
        self.read = {stdout: bytearray(), stderr: bytearray()}
        self._stdin, self._text, self._most, self._open = stdin, memoryview(text), most, open_here
        for fd in (stdin, stdout, stderr):
            os.set_blocking(fd, False)

    def run(self, deadline: float) -> str:
        """Until the program closes its output. What stopped it, or nothing.

        Raises:
            TimedOut: it didn't by the deadline.
        """
        poll = select.poll()
        for fd in self.read:
            poll.register(fd, select.POLLIN)
        if not self._feed():
            poll.register(self._stdin, select.POLLOUT)
        waiting = set(self.read)
        while waiting:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise TimedOut
            for fd, _ in ready:
                if fd == self._stdin:
                    if self._feed():
                        poll.unregister(fd)
                elif not self._collect(fd):
                    poll.unregister(fd)
                    waiting.discard(fd)
            if sum(map(len, self.read.values())) > self._most:
                return f"wrote more than {self._most} bytes"
        return ""

    def _feed(self) -> bool:
        """Write what the pipe takes. True, and the pipe closed, when all is written or nobody reads."""
        try:
            while self._text:
                self._text = self._text[os.write(self._stdin, self._text) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            pass
        os.close(self._stdin)
        self._open.discard(self._stdin)
        return True

    def _collect(self, fd: int) -> bool:
        """Read once. False at the end."""
        data = os.read(fd, 1 << 16)
        self.read[fd] += data
        return bool(data)
