"""Runs the points of a sweep, each a process (`prerlkit run … --resume`): one that dies takes nothing with it.

A run that is still going, of a sweep that died, is found by its lock and waited for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from prerlkit.children import python, with_prerlkit
from prerlkit.errors import PrerlkitError
from prerlkit.files import open_regular
from prerlkit.interrupt import paused
from prerlkit.recipe.load import load
from prerlkit.runs import lock
from prerlkit.runs.files import RunFiles
from prerlkit.runs.state import State, read_state
from prerlkit.secrets import redact
from prerlkit.sweep import forked, manifest
from prerlkit.sweep.grid import Point
from prerlkit.sweep.manifest import Entry, log_path

_POLL = 0.2
_ANSWERS = (
    "the runs finish their step and save; press again to stop them now",
    "the runs stop now; press again to kill them",
    "the runs are killed",
)
"""What the first, second and third signal do."""
Environment = Mapping[str, str]
Report = Callable[[Entry], None]


class _Process(Protocol):
    """The part of `subprocess.Popen` that a sweep uses."""

    returncode: int | None

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def kill(self) -> None: ...


@dataclass(slots=True)
class _Running:
    """A run. `process`: None for one that another process has begun, the last sweep's for instance."""

    entry: Entry
    process: _Process | None
    slot: Environment


class Sweep:
    """One call of a sweep.

    Args:
        folder: the sweep's.
        slots: an environment for each process that may run at once; see `slots`.
        stop_on_failure: start no more runs after one that failed.
        trust: the runs may use the code that their recipes bring.
        run_here: runs a point in the calling process and returns its exit code. Points then run in copies of this
            process where that is possible (`forked`), and otherwise in separate processes.
        held: the lock on the sweep's folder.
        changed: called with each entry whose state changed.
        tick: called a few times a second.
        on_message: called with what a signal does.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[str],
        entries: Sequence[Entry],
        slots: Sequence[Environment],
        *,
        stop_on_failure: bool = False,
        trust: bool = False,
        run_here: Callable[[Point, Path], int] | None = None,
        held: lock.Lock | None = None,
        changed: Report = lambda entry: None,
        tick: Callable[[], None] = lambda: None,
        on_message: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder, self._sources, self._entries = folder, sources, entries
        self._free = list(slots)
        self._trust = trust
        self._stop_on_failure, self._changed, self._tick = stop_on_failure, changed, tick
        self._on_message, self._reported = on_message, 0
        self._running: list[_Running] = []
        self._run_here, self._lock = run_here, held
        self._signals = 0

    @property
    def stopped(self) -> bool:
        """Whether a signal asked it to stop."""
        return self._signals > 0

    def run(self) -> None:
        """Until every point is completed or failed, or the sweep is stopped and its runs have saved their state."""
        manifest.write(self._folder, self._sources, self._entries)
        with paused(), self._forward_signals():  # copies of this process have no second thread to answer signals
            try:
                while self._start_some() or self._running:
                    self._collect()
                    self._report_signals()
                    self._tick()
                    time.sleep(_POLL)
            finally:
                for process in filter(None, (one.process for one in self._running)):  # after an error of our own
                    process.kill()
                    process.wait()

    def _start_some(self) -> bool:
        """Start what there is room for; whether anything is left to start."""
        failed = any(entry.state == "failed" for entry in self._entries)
        if self.stopped or (failed and self._stop_on_failure):
            return False
        waiting = [entry for entry in self._entries if entry.state == "waiting"]
        for entry in waiting[: len(self._free)]:
            self._start(entry)
        return bool(waiting)

    def _start(self, entry: Entry) -> None:
        point = entry.point
        try:
            if load(point.source, point.overrides).recipe != point.recipe:
                raise PrerlkitError(f"{point.source} was changed since the sweep began")
        except PrerlkitError as error:
            self._set(entry, "failed", error=error.message)
            return
        slot = self._free.pop(0)
        process = None if lock.held(self._folder / point.folder) else self._process(point, slot)
        entry.begun = time.monotonic()
        self._running.append(_Running(entry, process, slot))
        self._set(entry, "running", error="" if process else "another process runs it; waiting for its end")

    def _process(self, point: Point, slot: Environment) -> _Process:
        log = self._folder / log_path(point)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [*command_of(point, self._folder / point.folder), *(["--trust"] if self._trust else [])]
        if self._run_here and forked.can_fork(point.recipe):
            run = partial(self._run_here, point, self._folder / point.folder)
            return forked.fork(run, command, slot, log, self._lock)
        with open(open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=with_prerlkit({**os.environ, **slot}),
                start_new_session=True,  # Ctrl-C reaches it by us alone, and so once for each time
            )

    def _collect(self) -> None:
        for one in [one for one in self._running if self._has_ended(one)]:
            self._running.remove(one)
            self._free.append(one.slot)
            entry, code = one.entry, one.process.returncode if one.process else None
            entry.seconds, entry.exit_code = time.monotonic() - entry.begun, code
            state = _state(self._folder / entry.point.folder)
            if code in (0, None) and state == "completed":
                self._set(entry, "completed")
            elif self.stopped or (code == 0 and state == "stopped"):
                self._set(entry, "stopped")
            elif code is None:  # it ended elsewhere before its end: now it is ours
                self._set(entry, "waiting")
            else:
                self._set(entry, "failed", error=last_words(self._folder / log_path(entry.point), code))

    def _has_ended(self, one: _Running) -> bool:
        if one.process:
            return one.process.poll() is not None
        return self.stopped or not lock.held(self._folder / one.entry.point.folder)

    def _set(self, entry: Entry, state: manifest.State, error: str = "") -> None:
        entry.state, entry.error = state, error
        manifest.write(self._folder, self._sources, self._entries)
        self._changed(entry)

    def _report_signals(self) -> None:
        """Print what the last signal does. Not in its handler, which may have interrupted other printing."""
        if self._signals > self._reported:
            self._reported = self._signals
            self._on_message(_ANSWERS[min(self._signals, len(_ANSWERS)) - 1])

    @contextmanager
    def _forward_signals(self) -> Iterator[None]:
        """Ctrl-C or SIGTERM: the runs finish their step and save. Twice: they stop at once. Three times: killed."""

        def handle(number: int, frame: FrameType | None) -> None:
            self._signals += 1
            for process in filter(None, (one.process for one in self._running)):
                process.send_signal(signal.SIGINT if self._signals < 3 else signal.SIGKILL)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _state(folder: Path) -> State | None:
    return read_state(folder) if RunFiles(folder).recipe.is_file() else None


def command_of(point: Point, folder: Path) -> list[str]:
    """What a person would type for this point."""
    command = python("-m", "prerlkit", "run", point.source, "--resume", "--no-color", "--output", str(folder))
    return command + [word for override in point.overrides for word in ("--set", override)]


def slots(jobs: int, *, cpu_only: bool) -> list[dict[str, str]]:
    """An environment for each of so many processes: a GPU each, in turn, where there are any, else a share of cores.

    Args:
        cpu_only: no recipe wants a GPU.
    """
    if jobs == 1:
        return [{}]
    devices = [] if cpu_only else _devices()
    if devices:
        return [{"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} for number in range(jobs)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    return [{"OMP_NUM_THREADS": share} for _ in range(jobs)]


def _devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def last_words(log: Path, code: int) -> str:
    """What a failed run said last: from `error` on where it said that."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith("error ")]
    text = " ".join(lines[starts[-1] :]) if starts else (lines or ["it said nothing"])[-1]
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return redact(f"{text[:300]} ({ended})")
