"""Leftovers of engines whose run is dead: folders, which are deleted, and processes, which are named."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from prerlkit.files import open_regular

_PREFIX, _LOCK = "engine-", ".lock"
_TITLE = "VLLM::EngineCore"
"""vLLM 0.32's name for the process that holds the device."""


class EngineFolder:
    """A folder for an engine's files. A lock in it says that its run is alive, and is free when the run is not.

    Args:
        parent: made if it is missing; folders of dead runs in it are deleted.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        made = Path(tempfile.mkdtemp(prefix=".", dir=parent))  # not yet under a name that is swept
        self._lock = _locked(made)
        made.chmod(0o755)  # a server may be another user
        self.path = parent / f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-{made.name.strip('.')}"
        made.rename(self.path)

    def remove(self) -> None:
        """Delete the folder and give up its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # closed before
            os.close(self._lock)


def sweep(parent: Path) -> None:
    """Delete the engine folders in `parent` whose run is dead. Folders of other users stay."""
    for folder in parent.glob(f"{_PREFIX}*"):
        if not (folder / _LOCK).is_file():
            continue
        with suppress(OSError):  # a live run holds it, or it is another user's
            lock = _locked(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _locked(folder: Path) -> int:
    """Return the handle of the folder's lock, held. Raises BlockingIOError where another process holds it."""
    handle = open_regular(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


@dataclass(frozen=True, slots=True)
class LeftoverEngine:
    """An engine process without the program that started it."""

    pid: int
    memory: int
    """Bytes of host memory that it holds."""


def leftover_engines() -> list[LeftoverEngine]:
    """Return vLLM's engine processes whose parent has ended: no run uses the device memory that they hold."""
    found = []
    for process in psutil.process_iter(["pid", "name", "cmdline", "memory_info"]):
        title = " ".join(process.info["cmdline"] or ()) or process.info["name"] or ""
        if title.startswith(_TITLE) and _orphaned(process):
            memory = process.info["memory_info"]
            found.append(LeftoverEngine(process.pid, memory.rss if memory else 0))
    return found


def leftover_note() -> str:
    """Return a sentence that names leftover engines and how to end them; empty where there is none."""
    found = leftover_engines()
    if not found:
        return ""
    pids = " ".join(str(one.pid) for one in found)
    return f"An engine of a run that ended still holds memory (process {pids}): end it with `kill -9 {pids}`. "


def _orphaned(process: psutil.Process) -> bool:
    """Return whether the parent is no Python program: init or a session manager inherits orphans."""
    try:
        parent = process.parent()
        if parent is None:
            return True
        words = " ".join([parent.name(), *parent.cmdline()]).lower()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return True
    return parent.pid == 1 or not any(word in words for word in ("python", "vllm", "prerlkit"))
