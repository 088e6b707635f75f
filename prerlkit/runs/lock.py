"""One run at a time in a folder: a lock that the system releases when its process dies, however it dies.

Not `filelock`, though it is installed: its file names no holder, asking whether the lock is held would create the
file, and on a disk without flock it falls back to a marker file that outlives its process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.files import open_regular

NAME = ".lock"
_PATIENCE = 0.5
"""Seconds in which a process that only asks whether the lock is held is waited for."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that this process holds on `folder`."""

    folder: Path
    handle: int

    def check(self) -> None:
        """Check that the folder is still the one that was locked. A deleted lock file is a lock on nothing.

        Raises:
            PrerlkitError: the folder was deleted, moved or replaced. Another run may be in it.
        """
        if not _is_file_of(self.handle, self.folder):
            raise PrerlkitError(
                f"The run folder {self.folder} was deleted, moved or replaced while this run used it.",
                "This run stopped and wrote nothing more there. What it had saved is where the folder went.",
            )


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold `folder`, which is made if it is missing.

    The file stays behind, unlocked: deleting it could let a third run lock another file of that name.

    Raises:
        UsageError: another run holds it, with its process and host. Or the lock is no file but a link, say.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _opened(folder / NAME)
        try:
            _take(handle, folder)
            if _is_file_of(handle, folder):  # otherwise the folder was deleted between the two lines above
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                yield Lock(folder, handle)
                return
        finally:
            os.close(handle)


def refuse_if_held(folder: Path) -> None:
    """Raise UsageError if another run holds `folder` now. Creates nothing."""
    if held(folder):
        raise _in_use(folder, (folder / NAME).read_bytes())


def held(folder: Path) -> bool | None:
    """Return whether a run holds `folder` now; None where the lock may not be read (another user's)."""
    try:
        handle = open_regular(folder / NAME, os.O_RDONLY)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that ask are not in each other's way
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _opened(path: Path) -> int:
    try:
        return open_regular(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
            raise
        raise UsageError(
            f"{path} can't be the lock of a run: {error.strerror}.", "Look at what it is, and delete it."
        ) from error


def _take(handle: int, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _in_use(folder, os.pread(handle, 200, 0)) from None
            time.sleep(0.05)
        else:
            return


def _is_file_of(handle: int, folder: Path) -> bool:
    try:
        there = os.stat(folder / NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return os.path.samestat(os.fstat(handle), there)


def _in_use(folder: Path, holder: bytes) -> UsageError:
    return UsageError(
        f"{folder} is in use by another run: {holder[:200].decode(errors='replace') or 'another process'}.",
        "Wait for it or stop it (Ctrl-C there), or choose another --output.",
    )
