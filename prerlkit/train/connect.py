"""How the processes that a launcher started (torchrun, accelerate) find each other, and how they fail together.

The first process that fails shows its error; the others read the reason from a note and end without printing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from prerlkit.errors import PrerlkitError, ShownElsewhereError, UsageError
from prerlkit.train.distributed import ALONE, World

JOIN = timedelta(minutes=5)
"""How long the processes wait for each other at the start."""
WAIT = timedelta(hours=6)
"""How long one waits for another later: a first download of a large model happens while the others wait."""

_FAILED, _WHY = "prerlkit/failed", "prerlkit/why"
_LAUNCH = "Start it with `torchrun --nproc-per-node N -m prerlkit run …`, or unset WORLD_SIZE to run one process."


@contextmanager
def connect(environ: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Join the processes that the launcher's environment variables describe, and leave them at the end.

    Raises:
        UsageError: the environment variables make no sense.
        PrerlkitError: not all processes came.
        ShownElsewhereError: in place of an error, when another process failed before this one.
    """
    rank, size, local_rank = read_place(environ)
    if size == 1:
        yield ALONE
        return
    store = _meet(rank, size)
    world = World(rank, size, local_rank, _asker(store))
    try:
        yield world
        world.gather(None)  # no process leaves while another may still fail
    except BaseException as error:
        if not _first_to_fail(store, rank, error):
            raise ShownElsewhereError(world.why() or str(error)) from error
        raise
    dist.destroy_process_group()


def read_place(environ: Mapping[str, str]) -> tuple[int, int, int]:
    """Return (rank, processes, rank on this machine) from a launcher's variables; (0, 1, 0) without them.

    Raises:
        UsageError: one is missing, no number, or too large.
    """
    if environ.get("WORLD_SIZE", "1") == "1":
        return 0, 1, 0
    numbers = {}
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        text = environ.get(name, "")
        if not text.isdigit():
            what = f'is "{text}", not a number' if text else "is missing"
            raise UsageError(f"WORLD_SIZE says that this is one of several processes, but {name} {what}.", _LAUNCH)
        numbers[name] = int(text)
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]:
        raise UsageError(f"This is one of {numbers['WORLD_SIZE']} processes, but {missing[0]} is missing.", _LAUNCH)
    size, rank, local_rank = numbers["WORLD_SIZE"], numbers["RANK"], numbers["LOCAL_RANK"]
    if not local_rank <= rank < size:
        raise UsageError(
            f"RANK {rank} and LOCAL_RANK {local_rank} don't fit WORLD_SIZE {size}: they count from 0, and the second "
            "is at most the first.",
            _LAUNCH,
        )
    return rank, size, local_rank


def take_device(world: World, wanted: str) -> None:
    """Give each process of a machine its own CUDA device. `wanted`: `model.device`.

    Raises:
        UsageError: there are more processes on this machine than devices.
    """
    if world.size == 1 or wanted == "cpu" or not torch.cuda.is_available():
        return
    devices = torch.cuda.device_count()
    if world.local_rank >= devices:
        raise UsageError(
            f"This machine has {devices} CUDA devices and at least {world.local_rank + 1} processes of the run.",
            f"Start {devices} a machine (--nproc-per-node {devices}), or set model.device: cpu.",
        )
    torch.cuda.set_device(world.local_rank)


def _meet(rank: int, size: int) -> dist.Store:
    """Wait for the other processes. Objects and flags travel over gloo, gradients on CUDA over nccl."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        store, _, _ = next(dist.rendezvous("env://", rank, size, timeout=JOIN))
        store.set_timeout(JOIN)
        store.set(f"prerlkit/here/{rank}", "")
        store.wait([f"prerlkit/here/{other}" for other in range(size)], JOIN)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=WAIT)
    except (RuntimeError, ValueError, OSError) as error:
        raise PrerlkitError(
            f"Process {rank} of {size} waited {JOIN.total_seconds():.0f} s for the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {str(error).splitlines()[0]}",
            f"Every machine must reach that address, and all {size} processes must be started. {_LAUNCH}",
        ) from error
    return store


def _first_to_fail(store: dist.Store, rank: int, error: BaseException) -> bool:
    """Return whether this process is the first that failed, which shows the error; leave a note for the others."""
    try:
        if store.add(_FAILED, 1) > 1:
            return False
        store.set(_WHY, f"process {rank} failed: {type(error).__name__}: {error}")
    except RuntimeError:  # the store went with the process that failed
        return False
    return True


def _asker(store: dist.Store) -> Callable[[], str]:
    def why() -> str:
        try:
            return store.get(_WHY).decode() if store.check([_WHY]) else ""
        except RuntimeError:
            return ""

    return why
