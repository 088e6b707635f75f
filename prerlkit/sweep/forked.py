"""A run as a copy of the sweep's own process: libraries are imported once, so that a short run costs its steps.

The copy is made before this process has started a thread of torch or has touched a GPU. It has its own session, log,
signals and memory, as a started process has.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prerlkit.children import with_prerlkit
from prerlkit.files import open_regular
from prerlkit.interrupt import answer_at_once
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.lock import Lock


class ForkedRun:
    """A running copy, with the methods of `subprocess.Popen` that a sweep uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # SIGCHLD is ignored here: the exit status is gone, the run's folder decides
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # its id is its own until it is waited for
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def can_fork(recipe: Recipe) -> bool:
    """Return whether a run of `recipe` may be a copy. Unsloth must be imported first; other engines start processes."""
    return hasattr(os, "fork") and recipe.model.backend == "transformers" and recipe.rollout.engine == "hf"


def fork(
    run: Callable[[], int], command: Sequence[str], environment: Mapping[str, str], log: Path, lock: Lock | None = None
) -> ForkedRun:
    """Call `run` in a copy of this process.

    Args:
        run: returns the exit code.
        command: starts the same run as a separate process, where a copy is not possible.
        environment: changes to it; OMP_NUM_THREADS also sets the threads of torch.
        log: receives what it prints.
        lock: the sweep's. The copy lets go of it: it must not outlive the sweep.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return ForkedRun(pid)
    code = 1
    try:
        if lock:
            os.close(lock.handle)
        _become_a_process(environment, log)
        _prepare_torch(command)
        code = run()
    except KeyboardInterrupt:  # before the run took signals itself
        code = 130
    except BaseException:  # noqa: BLE001 -- nothing may return into the sweep's own code
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _become_a_process(environment: Mapping[str, str], log: Path) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    answer_at_once()
    appended = open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with open(appended, "ab") as output, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for number in (1, 2):
            os.dup2(output.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 -- for the rest of this process
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.update(environment)


def _prepare_torch(command: Sequence[str]) -> None:
    import torch

    if torch.cuda._is_in_bad_fork():  # this process has touched a GPU: a copy of it can't
        os.execve(command[0], list(command), with_prerlkit(os.environ))
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
