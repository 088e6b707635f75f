"""How many threads torch computes with. Threads that wait for a core which other programs use slow all others down."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STAT = Path("/proc/stat")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_LOOK = 0.3
"""Seconds over which other programs' use of the cores is counted."""


@contextmanager
def chosen_threads(wanted: int | None = None) -> Iterator[str]:
    """Compute with as many threads as there are free cores within the block; yield a line on it, "" if nothing changed.

    The count changes how sums are rounded, and thereby a run's bytes, so a run that continues gives the count that it
    had. `OMP_NUM_THREADS` is the user's own choice: then nothing is changed.

    Args:
        wanted: of a run that continues.
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ:
        yield ""
        return
    threads = min(before, wanted or free_cores())
    torch.set_num_threads(threads)
    why = "as it began" if wanted else "other programs use the rest" if threads < before else ""
    try:
        yield f"{threads} of {before} threads, {why} (OMP_NUM_THREADS sets another number)" if threads != before else ""
    finally:
        torch.set_num_threads(before)


def free_cores(stat: Path = _STAT, quota: Path = _QUOTA, look: float = _LOOK) -> int:
    """Return how many cores other programs leave to this process, at least 1; all where the system can't tell."""
    allowed = _allowed(quota)
    first = _busy(stat)
    if first is None or allowed == 1:
        return allowed
    own = time.process_time()
    time.sleep(look)
    last = _busy(stat)
    if last is None or last[1] <= first[1]:
        return allowed
    cores = os.cpu_count() or 1
    seconds = (last[1] - first[1]) / os.sysconf("SC_CLK_TCK") / cores
    others = (last[0] - first[0]) / os.sysconf("SC_CLK_TCK") / seconds - (time.process_time() - own) / seconds
    return max(1, min(allowed, int(cores - others + 0.5)))


def _allowed(quota: Path) -> int:
    """Return the cores that this process may use: its affinity, and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, round(int(share) / int(period))))
    except (OSError, ValueError):  # no control group of version 2, or "max"
        return cores


def _busy(stat: Path) -> tuple[int, int] | None:
    """Return ticks of all cores that were busy, and all ticks; None where the system doesn't tell."""
    try:
        line = stat.read_text(encoding="ascii", errors="replace").splitlines()[0].split()
        ticks = [int(value) for value in line[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    if len(ticks) < 5:
        return None
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # without idle and waiting for disks
