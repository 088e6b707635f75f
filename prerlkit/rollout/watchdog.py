"""A small process next to the trainer: when the trainer ends for any reason, it ends the trainer's engine.

`kill -9` and the kernel's out-of-memory killer let no code of the trainer run. An engine in a separate process would
keep its device memory, and the next run would not fit. Neither of them hits the watchdog. It kills the
processes that the trainer started while the engine was starting, and deletes the engine's files.

This file is also the program of that process; it imports nothing of prerlkit.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_SECONDS = 0.5
"""Seconds between two checks of the trainer."""
_STARTING_SECONDS = 0.05
"""The same while the engine starts: processes of a killed trainer can't be found later, only remembered."""
_STARTED, _KILL = b"started\n", b"kill\n"
"""Orders of the trainer to the watchdog, which answers with an empty line."""


class Watchdog:
    """Watches an engine from the beginning of its start. Make it right before the start.

    Args:
        folder: of the engine's files, deleted with it.
    """

    def __init__(self, folder: Path) -> None:
        # -P: the folder of this file, with its modules' plain names, is not searched for imports
        command = [sys.executable, "-P", __file__, str(os.getpid()), str(folder)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it must not receive the terminal's Ctrl-C
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has recorded the processes that are no engine's

    def started(self) -> None:
        """Report that the engine's processes all exist now. Others that the trainer starts later are not killed.

        It returns when the watchdog has seen them: a trainer that is killed right after it leaves no engine.
        """
        self._send(_STARTED)

    def kill(self) -> None:
        """Kill the engine's processes. Its files stay: another engine may be started on them."""
        self._send(_KILL)

    def stop(self) -> None:
        """End it without a kill: the engine is closed."""
        self._process.kill()
        self._process.communicate()

    def _send(self, order: bytes) -> None:
        """Return when the watchdog has carried out `order`, or has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.write(order)
            self._process.stdin.flush()
            self._process.stdout.readline()


def watch(trainer: int, folder: str) -> None:
    """Wait until this process's parent `trainer` or its pipe is gone, then kill the engine and delete `folder`."""
    others = {os.getpid(), *(child.pid for child in _descendants(trainer))}
    print(flush=True)
    engine: set[psutil.Process] = set()  # by process id and start time: a later process may have the same id
    starting = True
    while os.getppid() == trainer:
        readable = select.select([0], [], [], _STARTING_SECONDS if starting else _SECONDS)[0]
        if starting:
            engine |= {child for child in _descendants(trainer) if child.pid not in others}
        if readable:
            order = os.read(0, 100)
            if not order:
                break
            starting = False
            if order == _KILL:
                _kill(engine)
            with suppress(OSError):  # the trainer is gone by now
                print(flush=True)
    _kill(engine)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _descendants(process: int) -> list[psutil.Process]:
    try:
        return psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
