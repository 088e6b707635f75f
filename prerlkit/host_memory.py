"""The memory of this machine that this process may take, control groups' limits included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

_CGROUPS = "/sys/fs/cgroup"


def free_host_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control group where there is a limit."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(found[1]) * 1024 if found else int(psutil.virtual_memory().available)  # no /proc on macOS
    for limit, used in _group_files():
        most, now = _read(limit).strip(), _read(used).strip()
        if most.isdigit() and now.isdigit():
            free = min(free, int(most) - int(now))
    return free


def host_memory() -> int:
    """Bytes of the machine, or of the smallest control group that this process is in."""
    limits = (_read(limit).strip() for limit, _ in _group_files())
    return min([int(psutil.virtual_memory().total), *(int(limit) for limit in limits if limit.isdigit())])


def _group_files() -> Iterator[tuple[str, str]]:
    """The limit and the use of memory of this process's control group, and of each above it: the least counts.

    In a container the group's path may be of the machine outside and lead nowhere: then those at the top are read.
    """
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, names = _CGROUPS, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, names = f"{_CGROUPS}/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            folder = "/".join([root, *parts[:depth]])
            yield f"{folder}/{names[0]}", f"{folder}/{names[1]}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
