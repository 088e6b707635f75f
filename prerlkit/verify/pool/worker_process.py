"""One worker process as the runner sees it: started with next to no environment, killed with all that it started."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from prerlkit.children import python, with_prerlkit
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.verify.pool import pipe as protocol
from prerlkit.verify.pool.output import BoundedOutput
from prerlkit.verify.pool.processes import MARK, kill_tree

START_LIMIT = 60.0  # seconds from start to ready: the plugins' imports, on a cold disk
_GOODBYE = 1.0  # seconds that a worker has to leave by itself
# What is passed on. Tokens and keys live in the environment, so this lists what is kept, not what is dropped.
KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "PRERLKIT_CACHE",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
# One thread each, as there are several workers; no GPU, which is the trainer's; the same hash order in every run, on
# which sympy's results may depend.
SET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
}


class WorkerProcess:
    """A started worker.

    Attributes:
        together: for each verifier whether it judges whole batches.
        waits: a verifier mostly waits.
        seconds: for each verifier how long a verdict may take where it keeps its own time.

    Args:
        hello: the verifiers, the recipe's folder and the memory limit; see `protocol`.
        output: receives what the worker and its children print.

    Raises:
        PrerlkitError: the worker can't start, with what its plugin said.
    """

    def __init__(self, hello: Mapping[str, Any], output: BoundedOutput) -> None:
        self._mark = secrets.token_hex(16)
        self._process = subprocess.Popen(
            python("-m", "prerlkit.verify.pool.worker", str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(self._mark),
            start_new_session=True,  # Ctrl-C in the terminal stops the trainer, which then decides
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pipe = protocol.Pipe(
            self._process.stdout.fileno(), self._process.stdin.fileno(), self._process.stderr.fileno(), output
        )
        self.together: list[bool] = []
        self.waits = False
        self.seconds: list[float] = []
        try:
            self.pipe.send([protocol.encode(hello)], START_LIMIT)
            answer = self.pipe.receive(START_LIMIT)
        except protocol.WorkerTimedOut as error:
            self.kill()
            raise PrerlkitError(f"a verifier's worker wasn't ready after {START_LIMIT:.0f} s") from error
        except protocol.Closed as error:
            raise PrerlkitError(f"a verifier's worker {self.kill()} while it started") from error
        match answer:
            case {"error": str() as message, "usage": bool() as usage, "hint": str() as hint}:
                self.kill()
                raise (UsageError if usage else PrerlkitError)(message, hint)
            case {"together": list() as together, "waits": bool() as waits, "seconds": list() as seconds} if len(
                together
            ) == len(seconds) == len(hello["verifiers"]) and all(type(one) is float for one in seconds):
                self.together, self.waits, self.seconds = together, waits, seconds
            case _:
                self.kill()
                raise PrerlkitError("a verifier's worker doesn't keep to its protocol: a verifier writes into its pipe")

    def signal_tree(self) -> None:
        """Kill the process and all that it started, from any thread; `kill` by its owner must follow."""
        kill_tree(self._process.pid if self._is_there() else None, self._mark)

    def kill(self) -> str:
        """End the process and all that it started, and say how it ended, as in "the worker …"."""
        # Its pid stays taken until it is waited for, so this can't hit a stranger.
        deadline = time.monotonic() + 0.05
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.002)  # a crash shows first as a closed pipe; give it the moment to get its own exit status
        there = self._is_there()
        kill_tree(self._process.pid if there else None, self._mark)
        status = self._process.wait()
        self._close_pipes()
        if not there:
            return "is gone, and its exit status with it (this process ignores SIGCHLD)"
        return (
            f"was killed by signal {-status} ({signal.strsignal(-status)})"
            if status < 0
            else f"ended with exit code {status}"
        )

    def stop(self) -> None:
        """Let the process leave by itself, then end what it left behind."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        deadline = time.monotonic() + _GOODBYE
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.002)
        self.kill()

    def _has_ended(self) -> bool:
        """Without collecting its exit status."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _is_there(self) -> bool:
        """Whether its process id is still its own. Where SIGCHLD is ignored, the system gives it away at its end."""
        try:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _close_pipes(self) -> None:
        self.pipe.empty_output()  # its last words
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _environment(mark: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    return {**with_prerlkit(kept), **SET, MARK: mark}
