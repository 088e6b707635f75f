"""Ends a judgement that a completion makes too expensive, so that it fails and cannot choose to be unjudged.

Bounds on the size of an answer come first, where a size says what the work will be. A regular expression or a foreign
scorer has no such size: for them the processor's time is limited, which does not depend on other work on the machine.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

SECONDS = 0.25
"""Processor time for one judgement. Ours: a thousand times what a judgement needs, and far below a recipe's timeout."""


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
    before = signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _stop(*arguments: object) -> NoReturn:
    raise TooExpensive
