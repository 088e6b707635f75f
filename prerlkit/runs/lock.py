"""One run at a time in a folder: a lock that the system releases when its process dies, however it dies.

Not `filelock`, though it is installed: its file names no holder, asking whether the lock is held would create the
file, and on a disk without flock it falls back to a marker file that outlives its process.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prerlkit.errors import UsageError

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made if it is missing.

    The file stays behind, unlocked: deleting it could let a third run lock another file of that name.

    Raises:
        UsageError: another run holds it, with its process and host.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(handle, folder)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def refuse_if_held(folder: Path) -> None:
    """Raise UsageError if another run holds `folder` now. Creates nothing."""
    try:
        handle = os.open(folder / NAME, os.O_RDWR)
    except OSError:
        return
    try:
        _take(handle, folder)
    finally:
        os.close(handle)


def held(folder: Path) -> bool:
    """Return whether a run holds `folder` now."""
    try:
        refuse_if_held(folder)
    except UsageError:
        return True
    return False


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        raise UsageError(
            f"{folder} is in use by another run: {holder}.",
            "Wait for it or stop it (Ctrl-C there), or choose another --output.",
        ) from None
