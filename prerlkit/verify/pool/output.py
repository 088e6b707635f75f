"""What verifiers and the code that they run print: it reaches stderr up to a limit, and is dropped from there on."""

from __future__ import annotations

import os
import sys
import threading

from prerlkit.secrets import redact

LIMIT = 256 * 1024
"""Bytes of all workers of a runner. Ours: enough for some tracebacks, little in a log of days."""
_CHUNK = 1 << 16


class BoundedOutput:
    """Passes on the output of worker processes, `limit` bytes of it together.

    The rest is read and dropped: a process that prints is not slowed down by a pipe that nothing empties.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._left = limit
        self._limit = limit
        self._lock = threading.Lock()

    def empty(self, fd: int) -> bool:
        """Read what is in a pipe now, at most a chunk; return whether more may come. `fd` must not block."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        self._pass_on(data)
        return bool(data)

    def _pass_on(self, data: bytes) -> None:
        with self._lock:
            shown, before = data[: self._left], self._left
            self._left -= len(shown)
            ends = before > 0 and not self._left
        text = redact(shown.decode("utf-8", errors="replace"))
        if ends:
            text += (
                f"\n[verifiers have printed {self._limit // 1024} KiB: what they print from here on is left out. "
                "A verdict has a reason and details for what a verifier has to say]\n"
            )
        if text:
            sys.stderr.write(text)
            sys.stderr.flush()
