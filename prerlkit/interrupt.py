"""SIGINT and SIGTERM are answered within a moment, also while the main thread is inside a library's C code.

Python runs a signal's handler in the main thread, between two bytecodes. A backward pass, a download or an import can
take many seconds until then. A second thread therefore reads each signal from Python's wakeup descriptor. It prints
what the signal does. In a process of the command line it also ends the process where the main thread does not.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Protocol

GRACE = 5.0
"""Seconds from a signal that stops at once to the end of the process. Ours: a normal end takes one to three."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MARK, _CLOSE = b"\x00", b"\xff"  # no numbers of signals


class SignalPolicy(Protocol):
    """What signals mean at present. `press` counts them from 1, from the moment at which the policy holds."""

    def ends(self, press: int) -> bool:
        """Return whether this signal raises KeyboardInterrupt; else `request` is called. Asked once for each."""

    def announce(self, press: int, ends: bool) -> None:
        """Print what this signal does. Called in the second thread."""

    def request(self) -> None:
        """Take the request of a signal that does not end. Called in the main thread; it may raise."""

    def give_up(self) -> None:
        """Print and write down what the main thread had no time for: the process ends after it."""


class AtOnce:
    """The policy of a command that has nothing to finish: every signal stops it."""

    def ends(self, press: int) -> bool:
        return True

    def announce(self, press: int, ends: bool) -> None:
        sys.stderr.write("stopping\n")
        sys.stderr.flush()

    def request(self) -> None: ...

    def give_up(self) -> None: ...


class Interrupts:
    """The handler of signals. Only the main thread may install and remove it.

    Args:
        policy: what signals mean until `answered` changes it.
        ends_process: the process is ours: end it `GRACE` seconds after a signal that stops at once, or at the next one.
    """

    def __init__(self, policy: SignalPolicy, *, ends_process: bool) -> None:
        self._ends_process, self._pid = ends_process, os.getpid()
        self._lock = threading.RLock()  # a second signal may interrupt the handler of the first
        self._set(policy)
        self._before: dict[int, Any] = {}
        self._old_wakeup = -1
        self._settled = threading.Event()
        self._deadline: float | None = None
        self.exit_code = 130
        """Of a process that a signal stopped at once."""

    def _set(self, policy: SignalPolicy) -> None:
        self.policy = policy
        self._seen = self._handled = 0
        self._decided: dict[int, bool] = {}

    def install(self, *numbers: int) -> None:
        """Handle the signals `numbers`, and start the second thread."""
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="prerlkit signals", daemon=True)
        self._thread.start()
        for number in numbers:
            self.take(number)

    def take(self, number: int) -> None:
        """Handle one more signal."""
        self._before[number] = signal.signal(number, self)

    def leave(self, number: int) -> None:
        """Restore what handled the signal before."""
        signal.signal(number, self._before.pop(number))

    def forget(self) -> None:
        """Leave signals to their defaults: this is a forked copy, and the second thread is the parent's."""
        signal.set_wakeup_fd(-1)
        for number in self._before:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def remove(self) -> None:
        """Restore what was there before, and end the second thread."""
        self._settle()
        for number in tuple(self._before):
            self.leave(number)
        signal.set_wakeup_fd(self._old_wakeup)
        with suppress(OSError):
            self._write.send(_CLOSE)
        self._thread.join(1.0)
        self._read.close()
        self._write.close()

    def change(self, policy: SignalPolicy) -> SignalPolicy:
        """Let signals mean something else from now on, and return the policy before."""
        self._settle()
        before = self.policy
        with self._lock:
            self._set(policy)
        return before

    def _settle(self) -> None:
        """Let the second thread answer the signals before this moment: they belong to the policy that holds."""
        self._settled.clear()
        with suppress(OSError):
            self._write.send(_MARK)
        self._settled.wait(1.0)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the main thread."""
        with self._lock:
            # Two signals that arrive while the main thread is in C code call the handler once.
            press = self._handled = max(self._handled + 1, self._seen)
            ends, policy = self._decision(press), self.policy
        if ends:
            self._settle()  # the answer first: the process may end right after this
            raise KeyboardInterrupt
        policy.request()

    def _decision(self, press: int) -> bool:
        """Return whether a signal ends. Whichever thread asks first decides, for both."""
        if press not in self._decided:
            self._decided[press] = self.policy.ends(press)
        return self._decided[press]

    def _watch(self) -> None:
        while True:
            self._read.settimeout(None if self._deadline is None else max(0.0, self._deadline - time.monotonic()))
            try:
                byte = self._read.recv(1)
            except TimeoutError:
                self._end()
            except OSError:
                return
            else:
                if byte in (_CLOSE, b""):
                    return
                self._take(byte)

    def _take(self, byte: bytes) -> None:
        if byte == _MARK:
            self._settled.set()
            return
        if self._old_wakeup != -1:  # an event loop's, as in a notebook
            with suppress(OSError):
                os.write(self._old_wakeup, byte)
        if byte[0] not in self._before:
            return
        with self._lock:
            self._seen += 1
            press, policy = self._seen, self.policy
            ends = self._decision(press)
        if ends and self._ends_process:
            if self._deadline is not None:
                self._end()
            self._deadline = time.monotonic() + GRACE
        policy.announce(press, ends)

    def skip_teardown(self) -> None:
        """End a process that a signal stopped at once, as the last of its exit functions.

        What follows frees modules and memory one by one, which takes torch seconds, and threads no longer run then.
        """
        if self._deadline is not None and os.getpid() == self._pid:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.exit_code)

    def _end(self) -> None:
        with suppress(Exception):  # whatever fails now, the process ends
            self.policy.give_up()
        os._exit(130)


def installed() -> Interrupts | None:
    """Return the handler of this process, if it has one."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, Interrupts) else None


def _in_copy() -> None:
    if own := installed():
        own.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_copy)


def answer_at_once() -> None:
    """Let SIGINT stop this process, which is the command line's, at once from now on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        own = Interrupts(AtOnce(), ends_process=True)
        own.install(signal.SIGINT)
        atexit.register(own.skip_teardown)


@contextmanager
def answered(policy: SignalPolicy) -> Iterator[None]:
    """Let SIGINT and SIGTERM mean what `policy` says, within a block.

    Python allows handlers in the main thread only. In another thread signals keep the meaning that they had.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = installed()
    if own is None:
        own = Interrupts(policy, ends_process=False)
        own.install(*_SIGNALS)
        try:
            yield
        finally:
            own.remove()
        return
    before = own.change(policy)
    own.take(signal.SIGTERM)
    try:
        yield
    finally:
        own.change(before)
        own.leave(signal.SIGTERM)


@contextmanager
def paused() -> Iterator[None]:
    """Remove the handler for a block that forks and installs other handlers: a fork must not copy its thread."""
    own = installed()
    if own is None:
        yield
        return
    own.remove()
    try:
        yield
    finally:
        answer_at_once()
