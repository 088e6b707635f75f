"""One guest: a Python process inside a layer. It communicates over two pipes and ends when it is closed."""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import select
import signal
import socket
import subprocess
import time
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prerlkit.errors import PrerlkitError
from prerlkit.sandbox.cgroup import groups
from prerlkit.sandbox.layers import Name, launch
from prerlkit.sandbox.limits import MIB, Limits

LARGEST = 8 * MIB  # bytes of one answer
START_LIMIT = 20.0  # seconds from start to ready, on a busy machine
PATIENCE = 5.0  # seconds for a killed guest to be gone
# Reads the guest's modules and its settings, then becomes the last of these modules.
_STUB = """
import sys, marshal
reader = open(int(sys.argv[1]), "rb")
modules, config = marshal.loads(reader.read(int.from_bytes(reader.read(4), "big")))
write = int(sys.argv[2])
for name, code in modules:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
sys.modules["prerlkit.sandbox.guest.boot"].confine(config)
channel = sys.modules["prerlkit.sandbox.guest.channel"].Channel(reader, write)
channel.send({"ready": True})
module.main(channel, config)
"""


class Ended(Exception):  # noqa: N818 - said of a guest, as is queue.Empty
    """The guest's process has ended, or wrote something that is no answer."""


class TooLong(Ended):
    """The guest wrote a message over the size limit."""


class TimedOut(Exception):  # noqa: N818 - as above
    """The guest didn't answer in time."""


class Guest:
    """A started guest. A context manager: leaving it ends every process of the guest's.

    Args:
        layer: how it is isolated.
        role: the module of `prerlkit.sandbox.guest` that it becomes.
        stdio: descriptors for its stdin, stdout and stderr; by default /dev/null for all three.
        bwrap: path of bubblewrap, for that layer.
        forks: it runs each program in a process that it forks; see `prerlkit.sandbox.guest.program`. `control` is then
            the socket over which it takes descriptors.
    """

    def __init__(
        self,
        layer: Name,
        role: str,
        limits: Limits,
        stdio: tuple[int, int, int] | None = None,
        bwrap: str | None = None,
        forks: bool = False,
    ) -> None:
        start = launch(layer, limits, bwrap, forks)
        guest_reads, self._write_fd = os.pipe()
        self._read_fd, guest_writes = os.pipe()
        self.control: socket.socket | None = None
        ours = [guest_reads, guest_writes]
        if forks:
            self.control, theirs = socket.socketpair()
            ours.append(theirs.detach())
            start.config["control"] = ours[-1]
        self._groups = groups() if layer != "none" else None
        self._group = self._groups.take(limits.everything()) if self._groups is not None else None
        stdin, stdout, stderr = stdio or (subprocess.DEVNULL,) * 3
        self._buffer = bytearray()
        self.layer = layer
        try:
            if self._group is not None:
                # As a descriptor: inside, its path is out of reach.
                ours.append(os.open(self._group / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
                start.config["group"] = ours[-1]
            self._process = subprocess.Popen(
                [*start.command, "-P", "-s", "-S", "-B", "-c", _STUB, str(guest_reads), str(guest_writes)],
                stdin=stdin, stdout=stdout, stderr=stderr, env=start.environment, cwd="/",
                pass_fds=ours, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(self._write_fd)
            os.close(self._read_fd)
            if self.control is not None:
                self.control.close()
            self._give_back_group()
            raise
        finally:
            for fd in ours:
                os.close(fd)
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._hello = _frame((_modules(role), start.config))
        self._ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_ready(self) -> None:
        """Wait until the guest has confined itself. No untrusted code has run before.

        Raises:
            PrerlkitError: the sandbox doesn't work.
        """
        if self._ready:
            return
        deadline = time.monotonic() + START_LIMIT
        try:
            self._write(self._hello, deadline)
            answer = self.receive(deadline)
        except TimedOut:
            raise PrerlkitError(f"a sandbox ({self.layer}) wasn't ready after {START_LIMIT:.0f} s") from None
        except Ended:
            raise PrerlkitError(
                f"a sandbox ({self.layer}) can't be started: {self._how_it_ended()}", "`prerlkit doctor` says more."
            ) from None
        if answer != {"ready": True}:
            raise PrerlkitError(f"a sandbox ({self.layer}) says {answer!r} and not that it is ready")
        self._ready = True

    def send(self, message: Any, deadline: float) -> None:
        """Write one message (marshal). `deadline`: on the monotonic clock, in seconds.

        Raises:
            Ended, TimedOut: it can't be written.
        """
        self._write(_frame(message), deadline)

    def receive(self, deadline: float) -> Any:
        """Return the next message, from JSON. Its content is as trustworthy as the code in the guest.

        Raises:
            Ended: the guest has ended, or wrote something that is no message.
            TimedOut: no whole message came before the deadline.
        """
        while (body := self._take()) is None:
            try:
                data = os.read(self._read_fd, 1 << 16)
            except BlockingIOError:
                _wait(self._read_fd, select.POLLIN, deadline)
                continue
            if not data:
                raise Ended("its process ended")
            self._buffer += data
        try:
            return json.loads(body)
        except (ValueError, RecursionError, MemoryError) as error:
            raise Ended("its process wrote something that is no answer") from error

    def wait(self, deadline: float) -> int:
        """Return its exit code after it has ended without being killed; negative for a signal.

        Raises:
            TimedOut: it hasn't, by the deadline.
        """
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimedOut from None

    def close(self) -> None:
        """End the guest and all of its processes.

        Raises:
            PrerlkitError: the kernel doesn't end it.
        """
        if self._write_fd < 0:
            return
        # A namespace ends with its first process, and no process in a guest can fork: one kill ends all.
        if self._process.returncode is None:  # else its id may belong to another process by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        # A guest that is not yet tied to its starter finds its pipe closed, and ends.
        os.close(self._write_fd)
        self._write_fd = -1
        if self.control is not None:
            self.control.close()
        try:
            self._process.wait(PATIENCE)
            if self.layer != "none":  # which promises nothing
                self._drain()
        except subprocess.TimeoutExpired:
            raise PrerlkitError(f"a sandbox ({self.layer}) can't be ended") from None
        finally:
            os.close(self._read_fd)
        self._give_back_group()  # not the group of a guest that can't be ended: its process is still in it

    def _give_back_group(self) -> None:
        if self._groups is not None and self._group is not None:
            self._groups.give_back(self._group)

    def _drain(self) -> None:
        """Wait until the last process that holds the pipe is gone: bubblewrap's own end comes first."""
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                try:
                    if not os.read(self._read_fd, 1 << 16):
                        return
                except BlockingIOError:
                    _wait(self._read_fd, select.POLLIN, deadline)
        except TimedOut:
            raise PrerlkitError(f"a process of a sandbox ({self.layer}) outlives it") from None

    def _write(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._write_fd, view) :]
            except BlockingIOError:
                _wait(self._write_fd, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise Ended("its process ended") from None

    def _take(self) -> bytes | None:
        if len(self._buffer) < 4:
            return None
        length = int.from_bytes(self._buffer[:4], "big")
        if length > LARGEST:
            raise TooLong(f"its answer is longer than {LARGEST // MIB} MiB")
        if len(self._buffer) < 4 + length:
            return None
        body = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return body

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return f"killed by signal {-status}" if status < 0 else f"exit code {status}"


def _frame(message: Any) -> bytes:
    body = marshal.dumps(message)
    return len(body).to_bytes(4, "big") + body


@lru_cache
def _modules(role: str) -> tuple[tuple[str, Any], ...]:
    """Return the code of the guest's modules, the one that it becomes last."""
    found = []
    shared = (
        ("libc", "boot", "channel", "values") if role == "judge" else ("libc", "boot", "channel", "values", "prelude")
    )
    for name in (*shared, role):
        full = f"prerlkit.sandbox.guest.{name}"
        file = import_module(full).__file__
        assert file is not None
        # Without docstrings, which are not read there.
        found.append((full, compile(Path(file).read_bytes(), f"<{name}>", "exec", dont_inherit=True, optimize=2)))
    return tuple(found)


def _wait(fd: int, event: int, deadline: float) -> None:
    """Wait for a descriptor. Check it once more after the deadline, as this process may have been delayed."""
    poll = select.poll()
    poll.register(fd, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimedOut
