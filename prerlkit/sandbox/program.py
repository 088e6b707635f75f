"""Runs whole programs in a sandbox: text in, exit code and bounded output out."""

from __future__ import annotations

import os
import select
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from prerlkit.errors import PrerlkitError
from prerlkit.sandbox.guest.program import CASE, END
from prerlkit.sandbox.layers import Name, Sandbox
from prerlkit.sandbox.limits import Limits
from prerlkit.sandbox.process import PATIENCE, START_LIMIT, Ended, Guest, TimedOut


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    Attributes:
        exit_code: as in a shell; negative for a signal; None where the host ended it.
        stopped: why the host ended it; empty where it did not.
        stdout, stderr: what it wrote until then.
        seconds: from the moment when it could begin.
    """

    exit_code: int | None
    stopped: str
    stdout: bytes
    stderr: bytes
    seconds: float


class ProgramRunner:
    """One program, run once for each case, each time in a fresh process of one guest. A context manager.

    A case leaves nothing for the next one: its process has ended, and if it has touched the private folder the next
    case gets another guest.

    Args:
        prelude: names of common modules that the program uses without importing them are bound first.
    """

    def __init__(self, sandbox: Sandbox, source: str, limits: Limits, prelude: bool = False) -> None:
        self._sandbox, self._limits = sandbox, limits
        self._program = {"source": source, "prelude": prelude}
        self._guest: Guest | None = None
        self._starts = 0
        self.restart_seconds = 0.0
        """Seconds for starting new guests that the program made necessary."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def run(self, stdin: bytes, seconds: float) -> Ran:
        """Run the program for at most that long.

        Raises:
            PrerlkitError: the sandbox doesn't work. Whatever the program does is no error.
        """
        guest = self._ready()
        pipes = [os.pipe() for _ in range(3)]
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
        open_here = {in_write, out_read, err_read}
        try:
            try:
                self._begin(guest, (in_read, out_write, err_write))
            finally:
                for fd in (in_read, out_write, err_write):
                    os.close(fd)
            start = time.monotonic()
            deadline = start + seconds
            stopped, report = "", None
            flow = _Flow(in_write, out_read, err_read, stdin, self._limits.output, open_here)
            try:
                stopped = flow.run(deadline)
                report = None if stopped else guest.receive(deadline)
            except TimedOut:
                stopped = f"ran longer than {seconds:g} s"
            except Ended:
                stopped = "its sandbox ended"
            took = time.monotonic() - start
            self._finish(guest, report)
            exit_code = None if report is None else report["exit"]
            return Ran(exit_code, stopped, bytes(flow.read[out_read]), bytes(flow.read[err_read]), took)
        finally:
            for fd in open_here:
                os.close(fd)

    def _ready(self) -> Guest:
        """Return the guest; start one if there is none."""
        if self._guest is not None:
            return self._guest
        start = time.monotonic()
        # Python makes sys.stdin and the others for pipes, as each case's are.
        read, write = os.pipe()
        try:
            sandbox = self._sandbox
            self._guest = Guest(sandbox.layer, "program", self._limits, (read, write, write), sandbox.bwrap, forks=True)
        finally:
            os.close(read)
            os.close(write)
        self._guest.wait_ready()
        try:
            self._guest.send(self._program, time.monotonic() + START_LIMIT)
        except (TimedOut, Ended):
            raise PrerlkitError(f"a sandbox ({sandbox.layer}) doesn't take the program") from None
        if self._starts:
            self.restart_seconds += time.monotonic() - start
        self._starts += 1
        return self._guest

    def _begin(self, guest: Guest, fds: tuple[int, int, int]) -> None:
        """Start a case's process and wait until it has confined itself. This time doesn't count for the program."""
        assert guest.control is not None
        try:
            socket.send_fds(guest.control, [CASE], fds)
            answer = guest.receive(time.monotonic() + START_LIMIT)
        except (OSError, TimedOut, Ended):
            answer = None
        if answer != {"ready": True}:
            raise PrerlkitError(f"a sandbox ({self._sandbox.layer}) can't make a process for a case")

    def _finish(self, guest: Guest, report: Any) -> None:
        """End the case's process if it still runs; end the guest if the case has left something."""
        assert guest.control is not None
        try:
            if report is None:
                guest.control.send(END)
                report = guest.receive(time.monotonic() + PATIENCE)
            clean = report["clean"]
        except (OSError, TimedOut, Ended):
            clean = False
        if not clean:
            self._drop()

    def _drop(self) -> None:
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.close()


def run(layer: Name, source: str, stdin: bytes, limits: Limits, seconds: float, bwrap: str | None = None) -> Ran:
    """Run a program once, for at most that long.

    Raises:
        PrerlkitError: the sandbox doesn't work. Whatever the program does is no error.
    """
    with ProgramRunner(Sandbox(layer, bwrap), source, limits) as programs:
        return programs.run(stdin, seconds)


class _Flow:
    """Feeds stdin and collects stdout and stderr, until both are closed."""

    def __init__(self, stdin: int, stdout: int, stderr: int, text: bytes, most: int, open_here: set[int]) -> None:
        self.read = {stdout: bytearray(), stderr: bytearray()}
        self._stdin, self._text, self._most, self._open = stdin, memoryview(text), most, open_here
        for fd in (stdin, stdout, stderr):
            os.set_blocking(fd, False)

    def run(self, deadline: float) -> str:
        """Feed and read until the program closes its output. Return what stopped it, or an empty text.

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
        """Write as much as the pipe takes. Close it and return True when all is written or the reader has gone."""
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
