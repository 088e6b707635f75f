"""Ends a judgement that a completion makes too expensive, so that it fails and cannot choose to be unjudged.

Bounds on the size of an answer come first, where a size says what the work will be. A regular expression or a foreign
scorer has no such size: for them the processor's time is limited, which does not depend on other work on the machine.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 0.25
"""Processor time for one judgement. Ours: a thousand times what a judgement needs, and far below a recipe's timeout."""

_AGAIN = 0.02  # seconds; long enough to leave the body in


class TooExpensive(BaseException):
    """A judgement took more than its processor time. No `Exception`, so that no foreign `except` catches it."""


@contextmanager
def cpu_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Limit the processor time of the body. Python's signals reach the main thread only: elsewhere there is no limit.

    Python code, regular expressions and arithmetic of large integers are interrupted; other C code is when it returns.

    Raises:
        TooExpensive: the time is used up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    running = True

    def stop(*arguments: object) -> None:
        if running:
            raise TooExpensive

    before = signal.signal(signal.SIGVTALRM, stop)
    # Again and again: Python drops what is raised while an object or a generator is being deleted.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _AGAIN)
    try:
        try:
            yield
        finally:
            running = False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
