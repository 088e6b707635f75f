"""Kills of eight kinds on the laboratory's recipe, each resumed and compared: `python -m benchmarks.kills`.

The recipe is `reach_dsrl` with few steps, small batches and a checkpoint after every step. Each kill hits a run at a
random moment and the run is resumed. Every byte of adapters, last checkpoint, samples, probes and metrics (times and
memory aside) is compared with the run that was not disturbed. Then the same with a completed run that gets more steps.

Runs are forked from a process that has torch loaded, to have the moments fall into the run and not into imports.
"""

from __future__ import annotations

import argparse
import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.evaluation.result import EvalResult
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.checkpoints import list_steps
from prerlkit.train.callbacks import SilentCallback
from prerlkit.types import StepRecord

STEPS, MORE = 3, 3
"""Steps of each of the two stages, and those that the extended run's last stage gets in addition."""
SETTINGS = (
    f"stages.warmup.steps={STEPS}",
    "stages.warmup.until=null",
    "rollout.group_size=4",
    "rollout.prompts_per_step=4",
    "rollout.max_new_tokens=16",
    "evaluation={prompts: 8, greedy: true, samples: 1, every: 2}",
    "output.checkpoint_every=1",
)
SIGNALS = {name: getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")}
DISK, LIMIT, DAMAGED, RAISED = "disk full", "file size limit", "damaged last checkpoint", "exception in a callback"
KINDS = (*SIGNALS, DISK, LIMIT, DAMAGED, RAISED)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong within a run. `at`: which call to fsync, which event, or bytes of a file, by the kind."""

    kind: str
    at: int


class Raising(SilentCallback):
    """A callback that raises at one of its events."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _event(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("a callback that fails")

    def progress(self, what: str, done: int, total: int) -> None:
        self._event()

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        self._event()

    def on_evaluate(self, result: EvalResult) -> None:
        self._event()


def part(settings: tuple[str, ...], folder: str, fault: Fault | None) -> None:
    """Run or resume in this process; it exits 1 when the run fails."""
    from prerlkit.launch import Launch, run_recipe

    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    callback = Raising(fault.at) if fault and fault.kind == RAISED else SilentCallback()
    if fault and fault.kind == DISK:
        _fill_disk(fault.at)
    if fault and fault.kind == LIMIT:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, resource.RLIM_INFINITY))
    try:
        run_recipe(Launch(_recipe(settings), None, Path(folder), existing="resume"), callback)
    except KeyboardInterrupt:
        sys.exit(130)


def _recipe(settings: tuple[str, ...]) -> Recipe:
    return load("reach_dsrl", settings).recipe


def _fill_disk(after: int) -> None:
    """Have the fsync with that number fail, and all after it: what was written is then half on the disk."""
    real, calls = os.fsync, [after]

    def failing(handle: Any) -> None:
        calls[0] -= 1
        if calls[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    os.fsync = failing  # type: ignore[assignment]


@dataclass(slots=True)
class Kills:
    """Kills of one scenario.

    Attributes:
        folder: where runs are made.
        settings: of the run that is killed.
        start: a folder that each killed run begins with a copy of; None: it begins with nothing.
        straight: the undisturbed run.
        found: (position at the kill, differences) for each kind.
    """

    folder: Path
    settings: tuple[str, ...]
    start: Path | None
    straight: Path
    draws: random.Random
    begin: Callable[[tuple[str, ...], Path, Fault | None], Any]
    found: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    late: int = 0

    def prepare(self) -> None:
        """Make the undisturbed run and time it."""
        self._copy(self.straight)
        begun = time.monotonic()
        _finish(self.begin(self.settings, self.straight, None), self.straight)
        self.seconds = time.monotonic() - begun

    def one(self, kind: str, number: int) -> None:
        """Kill one run, resume it, and compare."""
        while True:
            run = self.folder / f"{number:03d}-{kind.replace(' ', '-')}"
            self._copy(run)
            if self._kill(kind, run):
                break
            self.late += 1  # it was finished before the fault came
            shutil.rmtree(run)
        place = _steps(run)
        if kind == DAMAGED:
            self._damage(run)
        _finish(self.begin(self.settings, run, None), run)
        different = self._differences(run)
        self.found[kind].append((place, different))
        print(f"{number:4d}  {kind:<24} at step {place}  {'; '.join(different) or 'equal'}", flush=True)
        if not different:
            shutil.rmtree(run)

    def _copy(self, run: Path) -> None:
        if self.start:
            shutil.copytree(self.start, run)

    def _kill(self, kind: str, run: Path) -> bool:
        """Return whether the run was hit before its end."""
        done, last = _steps(run), _steps(self.straight)
        if kind in SIGNALS or kind == DAMAGED:
            process = self.begin(self.settings, run, None)
            wanted = self.draws.randint(done, last)
            # By the clock alone a busy machine would be hit before the first step each time, or behind the last.
            while process.is_alive() and _steps(run) < wanted:
                time.sleep(0.003)
            process.join(self.draws.random() * self.seconds / (last - done + 2))
            if process.is_alive():
                os.kill(process.pid, SIGNALS.get(kind, signal.SIGKILL))
            process.join()
            return not _completed(run) and (kind != DAMAGED or len(list_steps(run / "checkpoints")) > 1)
        at = {DISK: (0, 60), RAISED: (0, 150), LIMIT: (500, 400_000)}[kind]
        process = self.begin(self.settings, run, Fault(kind, self.draws.randint(*at)))
        process.join()
        return bool(process.exitcode) and not _completed(run)

    def _damage(self, run: Path) -> None:
        """Flip one bit of one file of the newest checkpoint."""
        newest = run / "checkpoints" / f"step-{list_steps(run / 'checkpoints')[-1]:06d}"
        file = self.draws.choice(sorted(path for path in newest.iterdir() if path.is_file()))
        content = bytearray(file.read_bytes())
        content[self.draws.randrange(len(content))] ^= 1 << self.draws.randrange(8)
        file.write_bytes(content)

    def _differences(self, run: Path) -> tuple[str, ...]:
        from prerlkit.train.verify_resume import compare

        proof = compare(self.straight, run)
        left = [str(path.relative_to(run)) for path in run.rglob(".*") if path.name != ".lock"]
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        gaps = () if steps == list(range(1, len(steps) + 1)) else (f"steps in metrics.jsonl: {steps}",)
        return (*proof.different, *gaps, *(f"left behind: {path}" for path in left))


def _finish(process: Any, run: Path) -> None:
    process.join()
    if process.exitcode or not _completed(run):
        raise SystemExit(f"{run}: the resumed run failed; see {run}.log")


def _completed(run: Path) -> bool:
    from prerlkit.runs.run import Run

    try:
        return Run.open(run).state == "completed"
    except UsageError:  # hit before the recipe was written
        return False


def _steps(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def _table(title: str, kills: Kills) -> bool:
    print(f"\n{title}\n{'kind':<26}{'kills':>6}{'at steps':>20}{'equal':>7}")
    for kind, found in kills.found.items():
        places = ", ".join(map(str, sorted({place for place, _ in found})))
        print(f"{kind:<26}{len(found):>6}{places:>20}{sum(not different for _, different in found):>7}")
    every = [different for found in kills.found.values() for _, different in found]
    equal = sum(not different for different in every)
    print(f"{'all':<26}{len(every):>6}{'':>20}{equal:>7}   ({kills.late} more came after the run's end)\n", flush=True)
    return equal == len(every)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="of each of the two scenarios")
    parser.add_argument("--only", choices=("run", "extended"), help="one of the scenarios")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the runs that differ; must not exist")
    options = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prerlkit.launch", "prerlkit.train.run", "prerlkit.plan.fit"])

    def begin(settings: tuple[str, ...], folder: Path, fault: Fault | None) -> Any:
        process = context.Process(target=part, args=(settings, str(folder), fault))
        process.start()
        return process

    folder = options.keep or Path(tempfile.mkdtemp(prefix="prerlkit-kills-"))
    folder.mkdir(exist_ok=True, parents=True)
    short = (*SETTINGS, f"stages.rl.steps={STEPS}")
    longer = (*SETTINGS, f"stages.rl.steps={STEPS + MORE}")
    draws = random.Random(options.seed)
    scenarios = {
        "A run from its beginning": Kills(folder / "run", short, None, folder / "straight", draws, begin),
        "A completed run that gets more steps": Kills(
            folder / "extended", longer, folder / "straight", folder / "straight-extended", draws, begin
        ),
    }
    good = True
    for title, kills in scenarios.items():
        kills.folder.mkdir()
        kills.prepare()  # also of a scenario that is not wanted: the extended run begins with the other's
        if options.only not in (None, kills.folder.name):
            continue
        for number in range(options.kills):
            kills.one(KINDS[number % len(KINDS)], number)
        good = _table(title, kills) and good
    if good and not options.keep:
        shutil.rmtree(folder)
    sys.exit(0 if good else f"runs that differ are in {folder}")


if __name__ == "__main__":
    main()
