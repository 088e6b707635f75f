"""The one way to start a run: `prerlkit run`, `resume`, a sweep's processes and `prerlkit.run()` come through here."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from prerlkit.errors import UsageError
from prerlkit.paths import user_path
from prerlkit.quiet import quieted

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
    request to stop after the step. A second signal raises KeyboardInterrupt.

    Args:
        callback: of the first process; those of other processes receive nothing.
        world: of `processes`; None: this process alone.

    Raises:
        UsageError: the recipe brings code that the user has not allowed.
        PrerlkitError: it can't fit, can't be started, or failed.
    """
    from prerlkit.trust import of_recipe, require

    recipe, output = launch.recipe, launch.output
    require(of_recipe(recipe, launch.recipe_folder), launch.recipe_folder, launch.trust)
    primary = world is None or world.primary
    if primary:
        callback.on_message(f"recipe {recipe.name}, seed {recipe.seed} → {output}")
        callback.on_message("loading libraries")
        callback.progress("loading libraries", 0, 0)
    with quieted(not launch.verbose):
        from prerlkit.plan.fit import refuse_what_cannot_fit
        from prerlkit.recipe.plugins import bind
        from prerlkit.runs.files import RunFiles
        from prerlkit.trackers.watching import tracked
        from prerlkit.train.callbacks import SilentCallback, StopSignal
        from prerlkit.train.distributed import ALONE
        from prerlkit.train.run import run
        from prerlkit.train.taken_stage import settle
        from prerlkit.train.threads import chosen_threads

        if not primary:
            callback = SilentCallback()
        if world:
            callback.on_message(f"{world.size} processes share each step; this is the first, process id {os.getpid()}")
        begun = RunFiles(output) if launch.existing == "resume" else None
        recipe = settle(recipe, launch.recipe_folder, begun, fetch=world is None and not begun)
        if not launch.force and (world is None or not recipe.memory.shard_base):  # a plan is for one device
            callback.progress("memory plan", 0, 0)
            callback.on_message(refuse_what_cannot_fit(bind(recipe, launch.recipe_folder)))
        stop = StopSignal()
        watching = tracked(recipe, output, callback) if primary else nullcontext(callback)
        begun_with = _threads_of(output) if launch.existing == "resume" else None
        threads = chosen_threads(begun_with) if world is None else nullcontext("")
        with _signals(stop, callback), watching as watched, threads as note:
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
    from prerlkit.runs.files import RunFiles

    try:
        about = json.loads(RunFiles(output).environment.read_text(encoding="utf-8"))
        return int(about["hardware"]["torch_threads"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


@contextmanager
def _signals(stop: StopSignal, callback: Callback) -> Iterator[None]:
    """Let SIGINT and SIGTERM request a stop after the step, or at once in an evaluation; a second one interrupts.

    Python allows handlers in the main thread only. In another thread signals keep the meaning that they had.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        callback.on_message("stopping after this step; once more stops at once")
        stop.request()  # the last line: within an evaluation it raises

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # as some schedulers start processes: no child's status
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
