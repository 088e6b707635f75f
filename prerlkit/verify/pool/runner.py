"""Judges samples in worker processes: nothing that a verifier does can stop, slow down for long, or lie to a run.

A thread for each worker takes batches from one queue. When a verifier runs too long or its process dies, that process
is killed with all that it started, the sample at fault is unjudged, and the rest of its batch goes to a fresh process.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.types import Verdict
from prerlkit.verify.base import VerifierInput
from prerlkit.verify.combine import Combination, Reward, labels_of
from prerlkit.verify.pool import pipe as protocol
from prerlkit.verify.pool.jobs import Job, JobQueue, Judgement, VerifierEntry, VerifierStats
from prerlkit.verify.pool.output import BoundedOutput
from prerlkit.verify.pool.worker_thread import WorkerThread

WAITING = 16
"""Workers where a verifier mostly waits."""
COMPUTING = (2, 8)
"""Workers where verifiers compute: half of the cores, but at least and at most so many. The trainer uses cores too."""


def default_workers(*, waits: bool) -> int:
    """Return how many worker processes judge, unless a recipe says it.

    Args:
        waits: a verifier mostly waits (`Verifier.waits`).
    """
    if waits:
        return WAITING
    least, most = COMPUTING
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(least, min(most, cores // 2))


def _passed_on(use: VerifierEntry) -> dict[str, str]:
    """The environment variables that a recipe passes on to a verifier."""
    if missing := [name for name in use.environment if not os.environ.get(name)]:
        raise UsageError(
            f'verifier "{use.name}" gets the environment variable {missing[0]}, which is not set',
            f"Set it where you start prerlkit: export {missing[0]}=…, or take it out of the verifier's `environment`.",
        )
    return {name: os.environ[name] for name in use.environment}


class Runner:
    """Worker processes that judge samples with a recipe's verifiers. A context manager.

    Args:
        uses: the recipe's verifiers (`VerifierConfig`).
        reward: how their scores become one.
        gates: positions of the verifiers whose failing makes the score 0; see `combine.Combination`.
        folder: the recipe's folder, for verifiers next to it.
        workers: how many processes; None: `default_workers`, by what the first ones say of their verifiers.
        memory_bytes: address space of one worker, and of each process it starts (RLIMIT_AS).
        max_pending: samples that may be under way; `submit` waits when there are more.

    Raises:
        UsageError: an environment variable that the recipe passes on is not set.

    Raises (on entering):
        PrerlkitError: a verifier is unknown, has wrong settings, fails to import, or has a service that can't be used.
    """

    def __init__(
        self,
        uses: Sequence[VerifierEntry],
        *,
        reward: Reward = "weighted",
        gates: Collection[int] = (),
        folder: Path | None = None,
        workers: int | None = None,
        memory_bytes: int = 4 * 2**30,
        max_pending: int = 1024,
    ) -> None:
        self._uses = tuple(uses)
        self._combination = Combination(
            labels_of(self._uses),
            tuple(use.weight for use in self._uses),
            tuple(i in gates for i in range(len(self._uses))),
            reward,
        )
        hello = {
            "verifiers": [
                {"name": use.name, "settings": dict(use.settings), "environment": _passed_on(use)} for use in self._uses
            ],
            "folder": None if folder is None else str(folder.resolve()),
            "memory_bytes": memory_bytes,
            "check": False,
        }
        self._workers = workers
        self._queue = JobQueue(len(self._uses), workers or COMPUTING[0])
        self._room = threading.Semaphore(max_pending)
        self._pending: set[Judgement] = set()
        self._failure: PrerlkitError | None = None
        self._lock = threading.Lock()
        self._counts: list[Counter[str]] = [Counter() for _ in self._uses]
        self._open = False
        self._hello, self._output = hello, BoundedOutput()
        self._slots: list[WorkerThread] = []

    def __enter__(self) -> Self:
        self._open = True
        try:
            self._start(self._workers or COMPUTING[0])
            if self._workers is None:
                workers = default_workers(waits=any(slot.waits for slot in self._slots))
                self._queue.workers = workers
                self._start(workers - len(self._slots))
        except BaseException:
            self._close(abandon=True)
            raise
        return self

    def _start(self, count: int) -> None:
        """Start so many more workers and wait until they are ready."""
        new = [
            WorkerThread(
                self._hello,
                self._uses,
                self._queue,
                self._finish,
                self._fail,
                self._output,
                checks=not self._slots and number == 0,
            )
            for number in range(count)
        ]
        self._slots += new
        for slot in new:
            slot.start()
        for slot in new:
            slot.started.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way; after an error leave it unjudged instead. No process is left running."""
        self._close(abandon=kind is not None)

    def submit(self, sample: VerifierInput) -> Future[Verdict]:
        """Have a sample judged by all verifiers. Waits while `max_pending` samples are under way.

        The future gets the combined verdict (see `combine.Combination`). It never raises for a fault of a verifier, and
        can't be cancelled.

        Raises (the future too):
            PrerlkitError: the pool itself failed, or isn't open.
        """
        if not self._open:
            raise PrerlkitError("this runner isn't open", "Use it as a context manager: with Runner(...) as runner:")
        self._room.acquire()
        task = Judgement(self._combination)
        with self._lock:
            if self._failure:
                self._room.release()  # for the next one that waits
                raise self._failure
            self._pending.add(task)
        task.future.set_running_or_notify_cancel()
        try:
            frame = protocol.encode_sample(sample)
        except (ValueError, TypeError, RecursionError) as error:
            for use in range(len(self._uses)):
                self._finish(
                    Job(task, use, b""), Verdict.unjudged(f"the row can't be written as JSON: {error}"), "errors"
                )
            return task.future
        self._queue.put([Job(task, use, frame) for use in range(len(self._uses))])
        return task.future

    def judge(self, samples: Sequence[VerifierInput]) -> list[Verdict]:
        """The combined verdicts, in the samples' order."""
        return [future.result() for future in [self.submit(sample) for sample in samples]]

    def abandon(self) -> None:
        """Leave what is under way unjudged, and what is still submitted: the run is about to stop."""
        for slot in self._slots:
            slot.abandon()

    def stats(self) -> dict[str, VerifierStats]:
        """What each verifier has done so far, by name; one that is used twice has `#2` after its name."""
        with self._lock:
            labels = self._combination.labels
            return {label: VerifierStats(**counts) for label, counts in zip(labels, self._counts, strict=True)}

    def _finish(self, check: Job, verdict: Verdict, fault: str | None) -> None:
        """Take a check's verdict. `fault`: the counter that it adds to, besides judged or unjudged."""
        with self._lock:
            self._counts[check.use].update(["judged" if verdict.judged else "unjudged", *([fault] if fault else [])])
        if check.task.add(check.use, verdict):
            with self._lock:
                self._pending.discard(check.task)
            self._room.release()

    def _fail(self, error: BaseException) -> None:
        """A thread of the pool died. Every sample under way fails with its cause, and so does each one to come."""
        failure = PrerlkitError(
            f"The verifiers' pool failed: {type(error).__name__}: {error}.",
            "This is no fault of a verifier. The finished steps are saved: --resume continues. If it happens again, "
            "please report it with the traceback (-v).",
        )
        failure.__cause__ = error
        with self._lock:
            self._failure = self._failure or failure
            pending, self._pending = self._pending, set()
        self._queue.close()
        for task in pending:
            task.fail(failure)
        self._room.release()  # whoever waits to submit is to see the failure

    def _close(self, abandon: bool) -> None:
        self._open = False
        self._queue.close()
        if abandon:
            self.abandon()
        for slot in self._slots:
            if slot.ident is not None:
                slot.join()
