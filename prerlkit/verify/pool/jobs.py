"""What waits to be judged: a queue of checks, each one sample for one verifier."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from prerlkit.errors import PrerlkitError
from prerlkit.types import Verdict
from prerlkit.verify.combine import Combination

MAX_BATCH = 16  # checks handed to a worker at once: enough that a verdict's share of the overhead is small
MAX_BATCH_BYTES = 1 << 20  # a batch of more is handed out one by one: its parsing must not delay the first verdict


class VerifierEntry(Protocol):
    """How a recipe uses a verifier; `prerlkit.recipe.schema.VerifierConfig` is one."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def timeout(self) -> float: ...
    @property
    def environment(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class VerifierStats:
    """What one verifier has done so far.

    Attributes:
        judged: verdicts that passed or failed.
        unjudged: verdicts that did neither, those below included.
        timeouts: ran longer than its time limit.
        crashes: its worker process died.
        errors: raised, or returned something that is no verdict.
    """

    judged: int = 0
    unjudged: int = 0
    timeouts: int = 0
    crashes: int = 0
    errors: int = 0


@dataclass(slots=True, eq=False)
class Judgement:
    """One sample on its way through all verifiers. Its future gets the combined verdict."""

    combination: Combination
    future: Future[Verdict] = field(default_factory=Future)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, use: int, verdict: Verdict) -> bool:
        """Take one verifier's verdict. True when it was the last one missing, and the future is now set."""
        with self.lock:
            self.verdicts[use] = verdict
            complete = len(self.verdicts) == len(self.combination.labels) and not self.future.done()
            if complete:
                self.future.set_result(self.combination.combine([self.verdicts[i] for i in range(len(self.verdicts))]))
        return complete

    def fail(self, error: BaseException) -> None:
        """There will be no verdict: the pool itself failed."""
        with self.lock:
            if not self.future.done():
                self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class Job:
    """One sample for one verifier. `alone`: its batch failed as a whole, so it is judged by itself."""

    task: Judgement
    use: int
    frame: bytes
    alone: bool = False


class JobQueue:
    """Checks in the order they came, handed out in batches of one verifier.

    Attributes:
        workers: how many share a line.
    """

    def __init__(self, uses: int, workers: int) -> None:
        self._waiting: list[deque[Job]] = [deque() for _ in range(uses)]
        self.workers = workers
        self._changed = threading.Condition()
        self._closed = False

    def put(self, checks: Sequence[Job]) -> None:
        """Add checks at the end of their lines.

        Raises:
            PrerlkitError: the queue is closed; no worker would take them.
        """
        with self._changed:
            if self._closed:
                raise PrerlkitError("the runner was closed while a sample was handed to it")
            for check in checks:
                self._waiting[check.use].append(check)
            self._changed.notify_all()

    def put_back(self, checks: Sequence[Job]) -> None:
        """Return checks whose worker died before it came to them; they are next."""
        with self._changed:
            for check in reversed(checks):
                self._waiting[check.use].appendleft(check)
            self._changed.notify_all()

    def take(self) -> list[Job] | None:
        """Wait for a batch: a fair share of the longest line. None when the queue is closed and empty."""
        with self._changed:
            while not any(self._waiting):
                if self._closed:
                    return None
                self._changed.wait()
            line = max(self._waiting, key=len)
            share = min(MAX_BATCH, -(-len(line) // self.workers))
            batch = [line.popleft()]
            size = len(batch[0].frame)
            while not batch[0].alone and line and len(batch) < share and not line[0].alone:
                size += len(line[0].frame)
                if size > MAX_BATCH_BYTES:
                    break
                batch.append(line.popleft())
            return batch

    def close(self) -> None:
        """No more checks will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
