"""What a run reports to its callers, and how a caller asks it to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from prerlkit.evaluation.result import EvalResult
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.types import StepRecord


class Callback(Protocol):
    """Receives the events of a run. It may print or draw; it must not change anything."""

    def on_message(self, text: str) -> None:
        """Receive a message for the user, sent once."""

    def on_stage_begin(self, name: str, steps: int, done: int) -> None:
        """Receive the beginning of a stage, or its continuation after `done` of its `steps`."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Receive the progress of the current work: completions of a rollout or an evaluation, rows of a step.

        `total` is 0 where nothing can be counted, as while libraries or weights are loaded.
        """

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        """Receive a recorded step of the current stage; `done` of its `steps` are done."""

    def on_evaluate(self, result: EvalResult) -> None: ...

    def on_stage_end(self, effect: StageEffect) -> None:
        """Receive the end of a stage, after its evaluation. A run that resumes at this point reports it again."""


class Interrupted(BaseException):
    """A stop was requested within `StopSignal.interrupting`."""


@dataclass(slots=True)
class StopSignal:
    """A request to stop after the current step. Nothing else of a run can be changed from outside."""

    requested: bool = field(default=False)
    _interrupting: int | None = field(default=None, repr=False)
    """The thread that is to be interrupted."""
    _record: Callable[[], None] | None = field(default=None, repr=False)

    @property
    def can_finish(self) -> bool:
        """Whether the run is among its steps, and so takes a request after the current one."""
        return self._record is not None

    @property
    def in_evaluation(self) -> bool:
        """Whether a request stops the work at once, and what is done of it is kept."""
        return self._interrupting is not None

    @contextmanager
    def steps(self, record: Callable[[], None]) -> Iterator[None]:
        """Enclose the steps of a run. `record` marks it as stopped in its folder; see `record_stopped`."""
        self._record = record
        try:
            yield
        finally:
            self._record = None

    def record_stopped(self) -> None:
        """Mark the run as stopped, from a thread that is about to end the process."""
        if self._record is not None:
            self._record()

    def request(self) -> None:
        """Ask for the stop. Called by a signal handler, it raises Interrupted in the work that it interrupts."""
        self.requested = True
        if self._interrupting == threading.get_ident():
            raise Interrupted

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Enclose work that a request stops at once: Interrupted is raised within it, or at its start."""
        self._interrupting = threading.get_ident()
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._interrupting = None


class SilentCallback:
    """A callback that does nothing; a base for those that want one event."""

    def on_message(self, text: str) -> None: ...

    def on_stage_begin(self, name: str, steps: int, done: int) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None: ...

    def on_evaluate(self, result: EvalResult) -> None: ...

    def on_stage_end(self, effect: StageEffect) -> None: ...
