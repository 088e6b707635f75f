"""Cgroups that limit all memory of a guest, including the memory that the kernel takes for it.

A limit of address space doesn't count page tables, pipes and files in memory. Where this process may make cgroups, each
guest runs in one: as root outside a container, or as a user to whom systemd delegates them. Elsewhere this memory is
not counted.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import subprocess
from functools import lru_cache
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory.limit_in_bytes")  # version 2, version 1
_SWAP = ("memory.swap.max", "memory.memsw.limit_in_bytes")


class Groups:
    """Groups below one folder, each used by one guest at a time and then by the next. Threads may share one object."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._free: list[Path] = []
        self._made: list[Path] = []
        atexit.register(self.remove)

    def take(self, memory: int) -> Path | None:
        """Return a group that may use that many bytes, or None where the kernel refuses."""
        try:
            group: Path | None = self._free.pop()  # one step: another thread may take the last one
        except IndexError:
            group = None
        try:
            if group is None:
                group = self._parent / f"prerlkit-{os.getpid()}-{secrets.token_hex(4)}"
                group.mkdir()
                self._made.append(group)
            _write_first(group, _LIMITS, memory)
        except OSError:
            return None
        with contextlib.suppress(OSError):  # without swap, or a kernel that doesn't count it
            _write_first(group, _SWAP, 0 if (group / _SWAP[0]).exists() else memory)
        return group

    def give_back(self, group: Path) -> None:
        """Keep the group of a guest that has ended, for the next guest."""
        self._free.append(group)

    def remove(self) -> None:
        """Remove the groups. One that still has a process stays."""
        for group in self._made:
            with contextlib.suppress(OSError):
                group.rmdir()
        self._made, self._free = [], []


@lru_cache
def groups() -> Groups | None:
    """Return a maker of groups with a memory limit; None where this process may not make them."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _working(_MOUNT / "memory" / path.lstrip("/"))
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return None
    # A group with processes can't have groups with limits below it, but the one above it can.
    folder = _MOUNT / own.lstrip("/")
    for place in (folder, *folder.parents):
        control = place / "cgroup.subtree_control"
        if control.is_file() and "memory" in control.read_text(encoding="ascii").split():
            return _working(place)
        if place == _MOUNT:
            break
    return None


def _working(parent: Path) -> Groups | None:
    """Return the groups below a folder if a group can be made there and a process can be moved into it."""
    if not os.access(parent, os.W_OK):
        return None
    _sweep(parent)
    found = Groups(parent)
    group = found.take(1 << 30)
    if group is None:
        return None
    mover = ["/bin/sh", "-c", 'echo 0 > "$0"', str(group / "cgroup.procs")]
    try:
        moved = subprocess.run(mover, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        moved = False
    found.give_back(group)
    if moved:
        return found
    found.remove()
    return None


def _sweep(parent: Path) -> None:
    """Remove groups of processes that were killed before they did so. A group that still has a process stays."""
    for group in parent.glob("prerlkit-*"):
        named = re.fullmatch(r"prerlkit-(\d{1,9})-[0-9a-f]{8}", group.name)
        if named and not _is_alive(int(named[1])):
            with contextlib.suppress(OSError):
                group.rmdir()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _write_first(group: Path, names: tuple[str, ...], value: int) -> None:
    """Write a limit to the first of these files that exists."""
    for name in names:
        if (group / name).exists():
            (group / name).write_text(str(value), encoding="ascii")
            return
    raise FileNotFoundError(f"{group} has no limit of memory")
