"""A thread that keeps one worker process busy, and replaces it when it hangs or dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from prerlkit.errors import PrerlkitError
from prerlkit.types import Verdict
from prerlkit.verify.pool import pipe as protocol
from prerlkit.verify.pool.jobs import Job, JobQueue, VerifierEntry
from prerlkit.verify.pool.output import BoundedOutput
from prerlkit.verify.pool.worker_process import WorkerProcess

LOADING_LIMIT = 60.0  # seconds for what a verifier does `off_the_clock`
_TAKE_LIMIT = 10.0  # seconds for an idle worker to take a batch
_RESTARTS = 3  # fresh processes that may fail to take one batch before its first check is given up

Finish = Callable[[Job, Verdict, str | None], None]
Fail = Callable[[BaseException], None]


class WorkerThread(threading.Thread):
    """Takes batches from the queue, has its process judge them, and hands each verdict to `finish`.

    What happens to a process costs a verdict at most. What happens to the thread itself is a fault of the pool: `fail`
    receives it, and no sample waits for a thread that is gone.

    `checks`: its first process looks whether the verifiers' services can be used.

    The process is started and waited for by this thread alone: it dies with the thread (PR_SET_PDEATHSIG).
    """

    def __init__(
        self,
        hello: Mapping[str, Any],
        uses: Sequence[VerifierEntry],
        queue: JobQueue,
        finish: Finish,
        fail: Fail,
        output: BoundedOutput,
        *,
        checks: bool = False,
    ) -> None:
        super().__init__(name="prerlkit-verify", daemon=True)
        self.started: Future[None] = Future()
        self._hello, self._uses, self._queue, self._finish, self._fail = hello, uses, queue, finish, fail
        self._output, self._checks = output, checks
        self.waits = False
        self._child: WorkerProcess | None = None
        self._failures = 0  # in a row, before any verdict
        self._abandoned = threading.Event()

    def run(self) -> None:
        try:
            self._child = WorkerProcess({**self._hello, "check": self._checks}, self._output)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for `started`
            self.started.set_exception(error)
            return
        self.waits = self._child.waits
        self.started.set_result(None)
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - handed to the threads that wait for verdicts
            self._fail(error)

    def _work(self) -> None:
        while (batch := self._queue.take()) is not None:
            if self._abandoned.is_set():
                for check in batch:
                    self._finish(check, Verdict.unjudged("the runner was closed"), None)
            else:
                self._serve(batch)
        if self._child is not None:
            self._child.stop()

    def abandon(self) -> None:
        """From another thread: end the process now, and leave what still waits unjudged."""
        self._abandoned.set()
        if (child := self._child) is not None:
            child.signal_tree()

    def _serve(self, batch: list[Job]) -> None:
        """Have a batch judged. Each of its checks ends up finished, or back in the queue."""
        if self._child is None:
            try:
                self._child = WorkerProcess(self._hello, self._output)
            except (PrerlkitError, OSError) as error:
                self._lose(batch, 0, f"its worker can't be started again: {error}", "crashes")
                return
        child, use = self._child, self._uses[batch[0].use]
        together = child.together[batch[0].use] and not batch[0].alone
        timeout = max(use.timeout, child.seconds[batch[0].use])
        limit = timeout * len(batch) if together else timeout
        order = protocol.encode({"use": batch[0].use, "count": len(batch), "together": together})
        answered = -1  # so far the batch hasn't even been taken
        try:
            child.pipe.send([order, *(check.frame for check in batch)], _TAKE_LIMIT)
            answered = 0
            for check in batch:
                verdict, broke = protocol.decode_verdict(_next_verdict(child.pipe, limit))
                self._finish(check, verdict, "errors" if broke else None)
                answered += 1
                self._failures = 0
        except protocol.WorkerTimedOut:
            self._drop_child()
            self._lose(batch, answered, f"ran longer than {timeout:g} s", "timeouts", together)
        except protocol.Closed:
            self._lose(batch, answered, f"crashed: its process {self._drop_child()}", "crashes", together)

    def _lose(self, batch: list[Job], answered: int, why: str, fault: str, together: bool = False) -> None:
        """The process is gone. The check that it was at is unjudged; the others go back.

        A batch that was judged as a whole has no such check: it goes back to be judged one by one.
        """
        if answered < 0:
            self._failures += 1
            answered = 0
            if self._failures < _RESTARTS:
                self._queue.put_back(batch)
                return
        if together and len(batch) > 1:
            for check in batch[answered:]:
                check.alone = True
            self._queue.put_back(batch[answered:])
            return
        verdict = Verdict.unjudged(f'verifier "{self._uses[batch[0].use].name}" {why}')
        self._queue.put_back(batch[answered + 1 :])
        self._finish(batch[answered], verdict, fault)

    def _drop_child(self) -> str:
        assert self._child is not None
        how, self._child = self._child.kill(), None
        return how


def _next_verdict(pipe: protocol.Pipe, limit: float) -> Any:
    """The next result. The clock stops while the worker asks for it, up to a limit."""
    end = time.monotonic() + limit + LOADING_LIMIT
    now = limit
    while isinstance(message := pipe.receive(now), dict):
        now = min(limit if message.get("clock") else LOADING_LIMIT, max(0.0, end - time.monotonic()))
    return message
