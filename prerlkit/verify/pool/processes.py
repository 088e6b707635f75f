"""Ends a worker process with everything it started, also what has moved to another session (Linux).

Three nets, because each has a hole: the tree below the worker (as a "subreaper" it inherits its orphans), its process
group, and a mark in the environment that its descendants carry, for when the worker itself is already dead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

MARK = "PRERLKIT_WORKER"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 2.0  # seconds that a kill may take before the next net is tried


def adopt_orphans_and_die_with_parent(parent: int) -> None:
    """Make this process inherit its orphaned descendants, and die when the thread that started it does.

    Args:
        parent: process id of the starter; if that is already dead, this process ends at once.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the process that started this worker is gone")


def descendants(pid: int) -> list[int]:
    """All living processes below `pid`, parents first. Empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in _process_folders():
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except OSError:  # gone while we looked
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]  # the name before it may hold anything
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(entry.name))
    below, frontier = [], [pid]
    while frontier:
        frontier = [child for parent_pid in frontier for child in children.get(parent_pid, ())]
        below += frontier
    return below


def kill_descendants(pid: int) -> None:
    """End all that runs below `pid`. Each is stopped before any is killed, so that none can start another meanwhile."""
    deadline = time.monotonic() + _PATIENCE
    while (found := descendants(pid)) and time.monotonic() < deadline:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for child in found:
                _send(child, number)
        time.sleep(0.001)  # killed processes need a moment to leave the table


def kill_tree(pid: int | None, mark: str) -> None:
    """End a worker that leads its own session, and all that it started.

    Args:
        pid: of a worker that must still be waited for; None when its id may already be another process's.
    """
    if pid is not None:
        _send(pid, signal.SIGSTOP)
        kill_descendants(pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        _send(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE
    while (found := _with_mark(mark, exclude=pid)) and time.monotonic() < deadline:
        for child in found:
            _send(child, signal.SIGKILL)
        time.sleep(0.001)


def _with_mark(mark: str, exclude: int | None) -> list[int]:
    """Return the living processes with the worker's mark in the environment that they were started with."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in _process_folders():
        try:
            if int(entry.name) != exclude and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # gone, or another user's
            continue
    return found


def _process_folders() -> list[Path]:
    proc = Path("/proc")
    return [entry for entry in proc.iterdir() if entry.name.isdigit()] if proc.is_dir() else []


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
