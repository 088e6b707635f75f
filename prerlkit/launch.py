"""The one way to start a run: `prerlkit run`, `resume`, a sweep's processes and `prerlkit.run()` come through here."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prerlkit.errors import StoppedNowError, UsageError
from prerlkit.interrupt import answered
from prerlkit.paths import user_path
from prerlkit.quiet import quieted
from prerlkit.runs.existing import check_folder
from prerlkit.runs.files import RunFiles, resume_command

if TYPE_CHECKING:
    from prerlkit.recipe.schema import Recipe
    from prerlkit.runs.files import Existing
    from prerlkit.train.callbacks import Callback, StopSignal
    from prerlkit.train.distributed import World
    from prerlkit.train.run import Summary


@dataclass(frozen=True, slots=True)
class Launch:
    """A run to start.

    Attributes:
        recipe_folder: where the recipe file is: relative paths in it, and plugins next to it.
        output: the run folder.
        existing: what to do with a folder that is not empty.
        force: try even if the plan says that it can't fit.
        verbose: let libraries' warnings and progress bars through.
        trust: allow the code that the recipe brings; see `prerlkit.trust`.
    """

    recipe: Recipe
    recipe_folder: Path | None
    output: Path
    existing: Existing = "refuse"
    force: bool = False
    verbose: bool = False
    trust: bool = False


def output_folder(recipe: Recipe) -> Path:
    """Return the run folder that the recipe names.

    Raises:
        UsageError: it has other fields than {name} and {seed}; a format such as {seed:999999999} fills memory.
    """
    folder = recipe.output.folder
    plain = folder.replace("{name}", "").replace("{seed}", "")
    if "{" in plain or "}" in plain:
        raise UsageError(
            f"output.folder: {folder} has other fields than {{name}} and {{seed}}.", "Write those as text."
        )
    return user_path(folder.replace("{seed}", str(recipe.seed)).replace("{name}", recipe.name))


@contextmanager
def processes() -> Iterator[World | None]:
    """Join the processes that torchrun or accelerate started. Yield None, without importing torch, for one process."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield None
        return
    from prerlkit.train.connect import connect

    with connect() as world:
        yield world


def run_recipe(launch: Launch, callback: Callback, world: World | None = None) -> Summary:
    """Start a run and return its summary.

    It refuses what can't fit, silences libraries, starts the recipe's trackers, and takes SIGINT and SIGTERM as a
    request to stop after the step. A second signal stops at once, as does the first one before the first step.

    Args:
        callback: of the first process; those of other processes receive nothing.
        world: of `processes`; None: this process alone.

    Raises:
        UsageError: the recipe brings code that the user has not allowed.
        PrerlkitError: it can't fit, can't be started, or failed.
        StoppedNowError: a signal stopped it at once; a KeyboardInterrupt.
    """
    from prerlkit.trust import of_recipe, require

    require(of_recipe(launch.recipe, launch.recipe_folder), launch.recipe_folder, launch.trust)
    from prerlkit.train.callbacks import SilentCallback, StopSignal

    primary = world is None or world.primary
    stop = StopSignal()
    if not primary:
        callback = SilentCallback()
    with _stoppable(_RunSignals(launch, stop, callback, alone=world is None or world.size == 1)):
        return _run(launch, callback, stop, world)


def _run(launch: Launch, callback: Callback, stop: StopSignal, world: World | None) -> Summary:
    recipe, output = launch.recipe, launch.output
    callback.on_message(f"recipe {recipe.name}, seed {recipe.seed} → {output}")
    if world is None:  # several processes are refused together, by the primary's writer
        check_folder(RunFiles(output), launch.existing)
    callback.on_message("loading libraries")
    callback.progress("loading libraries", 0, 0)
    with quieted(not launch.verbose):
        from prerlkit.plan.fit import refuse_what_cannot_fit
        from prerlkit.recipe.plugins import bind
        from prerlkit.trackers.watching import tracked
        from prerlkit.train.distributed import ALONE
        from prerlkit.train.run import run
        from prerlkit.train.taken_stage import settle
        from prerlkit.train.threads import chosen_threads

        if world:
            callback.on_message(f"{world.size} processes share each step; this is the first, process id {os.getpid()}")
        begun = RunFiles(output) if launch.existing == "resume" else None
        recipe = settle(recipe, launch.recipe_folder, begun, fetch=world is None and not begun)
        if not launch.force and (world is None or not recipe.memory.shard_base):  # a plan is for one device
            callback.progress("memory plan", 0, 0)
            callback.on_message(refuse_what_cannot_fit(bind(recipe, launch.recipe_folder)))
        primary = world is None or world.primary
        watching = tracked(recipe, output, callback) if primary else nullcontext(callback)
        begun_with = _threads_of(output) if launch.existing == "resume" else None
        threads = chosen_threads(begun_with) if world is None else nullcontext("")
        with watching as watched, threads as note:
            if note:
                callback.on_message(note)
            watch = f"prerlkit report {shlex.quote(str(output))} --watch --open"
            callback.on_message(f"live report, from another terminal: {watch}")
            watched.progress("model and prompts", 0, 0)
            return run(
                recipe,
                output,
                recipe_folder=launch.recipe_folder,
                callback=watched,
                stop=stop,
                existing=launch.existing,
                world=world or ALONE,
            )


def _threads_of(output: Path) -> int | None:
    """Return how many threads the run in that folder computed with; None where it doesn't say."""
    try:
        about = json.loads(RunFiles(output).environment.read_text(encoding="utf-8"))
        return int(about["hardware"]["torch_threads"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


class _RunSignals:
    """What SIGINT and SIGTERM mean to a run: the first one stops it after its step, the second one at once.

    Before its first step there is nothing to finish, and the first one stops it at once. Several processes finish the
    step in any case: one that leaves would let the others wait.
    """

    def __init__(self, launch: Launch, stop: StopSignal, callback: Callback, *, alone: bool) -> None:
        self._launch, self._stop, self._callback, self._alone = launch, stop, callback, alone
        self._began = False

    def ends(self, press: int) -> bool:
        self._began = self._began or self._stop.can_finish
        return press > 1 or self._stop.requested or (self._alone and not self._stop.can_finish)

    def announce(self, press: int, ends: bool) -> None:
        if ends:
            what = "stopping now"
        elif self._stop.in_evaluation:
            what = "stopping the evaluation, and keeping what is judged; press again to stop now"
        else:
            what = "finishing the step; press again to stop now"
        self._callback.on_message(what)

    def request(self) -> None:
        self._stop.request()

    def give_up(self) -> None:
        sys.stderr.write(f"{self.words()}\n")
        sys.stderr.flush()
        self._stop.record_stopped()

    def words(self) -> str:
        """Return what a person reads after a stop at once: what is kept, and the command that continues."""
        launch = self._launch
        if not self._began and (launch.existing == "overwrite" or not RunFiles(launch.output).recipe.is_file()):
            return "stopped before the first step, and nothing was written: the same command begins again"
        return f"stopped now; the run continues from {self._place()}, with:  {resume_command(launch.output)}"

    def _place(self) -> str:
        if not self._began:
            return "where it was"
        from prerlkit.runs.checkpoints import list_steps

        kept = max(list_steps(RunFiles(self._launch.output).checkpoints), default=0)
        return f"its last checkpoint, after step {kept}" if kept else "its first step"


@contextmanager
def _stoppable(stopping: _RunSignals) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the run.

    Raises:
        StoppedNowError: at once.
    """
    ignored = None
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        ignored = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some schedulers ignore it: no child's status
    try:
        with answered(stopping):
            yield
    except KeyboardInterrupt:
        raise StoppedNowError(stopping.words()) from None
    finally:
        if ignored is not None:
            signal.signal(signal.SIGCHLD, ignored)
