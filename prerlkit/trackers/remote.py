"""The run's end of a tracker's process: never waits in the loop, and drops a tracker that fails or hangs."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from prerlkit.children import python
from prerlkit.files import open_regular

PATIENCE = 60.0
"""Seconds for an answer. A run's step takes longer than any local write; ours."""
_EXIT = 10.0  # seconds that its process may take to end after it has answered the last message
_LAST_LINE = 300
_LONGEST = 1 << 20  # bytes of an answer


class TrackerProcess:
    """A tracker in its process. `send` returns at once; a thread writes and waits for the answers.

    Args:
        kind: tensorboard, wandb, trackio.
        opening: the first message, a `Start` as a mapping.
        log: a file for what the tracker's libraries print.
        done: called in the thread with each message that was taken.
        patience: seconds that one message may take.
        command: of the process, for tests.
    """

    def __init__(
        self,
        kind: str,
        opening: Mapping[str, Any],
        log: Path,
        done: Callable[[Mapping[str, Any]], None] = lambda message: None,
        *,
        patience: float = PATIENCE,
        command: Sequence[str] | None = None,
    ) -> None:
        self.kind = kind
        self.error: str | None = None
        self._done, self._patience = done, patience
        self._messages: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._messages.put(opening)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as errors:
            self._process = subprocess.Popen(
                command or python("-m", "prerlkit.trackers.child", kind),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is the run's to answer
            )
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"tracker {kind}")
        self._thread.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message. Nothing is sent any more after an error."""
        self._messages.put(message)

    def close(self, failed: bool) -> None:
        """Let it finish what is queued, for at most its patience; then it is killed."""
        self.send({"close": failed})
        self._thread.join(self._patience + 1)
        if self._thread.is_alive():
            self.error = self.error or f"still busy {self._patience:.0f} s after the run ended"
        self._kill()

    def join(self) -> None:
        """Wait for the end of the thread, which leaves no process behind. After an error or `close`: it is near."""
        self._thread.join(_EXIT)

    def _work(self) -> None:
        try:
            while self.error is None:
                message = self._messages.get()
                self._exchange(message)
                self._done(message)
                if "close" in message:
                    break
        except (OSError, ValueError) as error:
            self.error = self.error or str(error)
        if self.error is not None:
            self._kill()

    def _exchange(self, message: Mapping[str, Any]) -> None:
        """Write one message and wait for its answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            answer = _line(stdout, self._patience)
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise OSError(f"its process ended (exit code {self._process.wait()})")
        if error := _error(answer):
            raise OSError(error[:_LAST_LINE])

    def _kill(self) -> None:
        if self._process.poll() is None:
            try:
                self._process.wait(_EXIT if self.error is None else 0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _line(stdout: IO[bytes], patience: float) -> bytes:
    """One line, or b"" at the end. Each answer is one short line, and the process writes none before it is asked.

    Raises:
        OSError: nothing came in time.
    """
    deadline, line = time.monotonic() + patience, b""
    while not line.endswith(b"\n"):
        if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise OSError(f"no answer in {patience:.0f} s")
        part = os.read(stdout.fileno(), _LONGEST)
        if not part:
            return b""
        line += part
        if len(line) > _LONGEST:
            break
    return line


def _error(answer: bytes) -> str:
    """Return what an answer says went wrong, "" for nothing. Raises OSError for one that is not of our protocol."""
    try:
        message = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise OSError(f"its process sent {answer[:80]!r} instead of an answer: {error}") from error
    match message:
        case {"error": str() as text}:
            return text
        case dict() if "error" not in message:
            return ""
    raise OSError(f"its process sent {answer[:80]!r} instead of an answer")
