"""Trackers as a callback of the run, in addition to the display."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prerlkit.errors import PrerlkitError
from prerlkit.evaluation.result import EvalResult, values_of
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.files import write_json
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.trackers import TrackerUse
from prerlkit.runs.jsonl import read_json
from prerlkit.secrets import HIDDEN, redact
from prerlkit.trackers.protocol import Start
from prerlkit.trackers.remote import TrackerProcess
from prerlkit.train.callbacks import Callback, SilentCallback
from prerlkit.train.validate import check_trackers
from prerlkit.types import StepRecord

_SECRET_KEY = re.compile(r"token|secret|password|api_?key|credential", re.IGNORECASE)
_NOT_SECRET = ("start_token", "max_prompt_tokens", "max_new_tokens", "microbatch_tokens")

Open = Callable[..., TrackerProcess]


@contextmanager
def tracked(recipe: Recipe, folder: Path, callback: Callback, open_remote: Open = TrackerProcess) -> Iterator[Callback]:
    """Yield a callback that passes all events on to `callback`, and steps and evaluations to the recipe's trackers.

    Nothing is written before the run has made its folder. With no tracker in the recipe it is `callback` itself.

    Raises:
        UsageError: a tracker's package isn't installed.
    """
    if not recipe.output.trackers:
        yield callback
        return
    check_trackers(recipe)
    telling = TrackerCallback(recipe, folder, callback.on_message, open_remote)
    failed = True
    try:
        yield Fanout(callback, telling)
        failed = False
    finally:
        telling.close(failed)


class Fanout:
    """A callback that calls several."""

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks = callbacks

    def on_message(self, text: str) -> None:
        for callback in self._callbacks:
            callback.on_message(text)

    def on_stage_begin(self, name: str, steps: int, done: int) -> None:
        for callback in self._callbacks:
            callback.on_stage_begin(name, steps, done)

    def progress(self, what: str, done: int, total: int) -> None:
        for callback in self._callbacks:
            callback.progress(what, done, total)

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        for callback in self._callbacks:
            callback.on_step_end(record, done, steps)

    def on_evaluate(self, result: EvalResult) -> None:
        for callback in self._callbacks:
            callback.on_evaluate(result)

    def on_stage_end(self, effect: StageEffect) -> None:
        for callback in self._callbacks:
            callback.on_stage_end(effect)


class TrackerCallback(SilentCallback):
    """Opens the trackers with the first record, and sends each what it has not received yet."""

    def __init__(self, recipe: Recipe, folder: Path, on_message: Callable[[str], None], open_remote: Open) -> None:
        self._recipe, self._folder, self._on_message, self._open = recipe, folder.resolve(), on_message, open_remote
        self._open_ones: list[tuple[TrackerProcess, TrackerState]] | None = None
        self._dropped: list[TrackerProcess] = []

    def on_step_end(self, record: StepRecord, done: int, steps: int) -> None:
        self._tell(record.step, "", record.metrics)

    def on_evaluate(self, result: EvalResult) -> None:
        self._tell(result.step, f"{result.name} at {result.step}", values_of(result.totals(), bounds=True))

    def close(self, failed: bool) -> None:
        """Let the trackers finish, in at most their patience."""
        for remote, _ in self._open_ones or ():
            remote.close(failed)
        self._drop_dead()
        for remote in self._dropped:  # its own thread ends its process: the run must not be over before that
            remote.join()

    def _tell(self, step: int, evaluation: str, values: Mapping[str, float]) -> None:
        if self._open_ones is None:
            self._open_ones = self._open_all()
        for remote, told in self._open_ones:
            if told.is_new(step, evaluation):
                remote.send({"step": step, "values": dict(values), "evaluation": evaluation})
        self._drop_dead()

    def _open_all(self) -> list[tuple[TrackerProcess, TrackerState]]:
        uses = self._recipe.output.trackers
        told = [TrackerState(self._folder / "trackers" / f"{use.kind}.json") for use in uses]
        fresh = f"{self._recipe.name}-{self._recipe.seed}-{uuid.uuid4().hex[:8]}"
        identity = next((one.id for one in told if one.id), fresh)
        opened = []
        for use, own in zip(uses, told, strict=True):
            resumed, own.id = bool(own.id), identity
            try:
                opened.append((self._open_one(use, own, resumed), own))
            except OSError as error:
                self._on_message(f"tracker {use.kind} did not start, the run continues without it: {error}")
        return opened

    def _open_one(self, use: TrackerUse, told: TrackerState, resumed: bool) -> TrackerProcess:
        recipe = self._recipe
        start = Start(
            str(self._folder),
            f"{recipe.name} seed {recipe.seed}",
            recipe.name,
            told.id,
            resumed,
            without_secrets(recipe.model_dump(mode="json")),
            use.model_dump(mode="json"),
        )
        return self._open(use.kind, asdict(start), self._folder / "trackers" / f"{use.kind}.log", told.taken)

    def _drop_dead(self) -> None:
        for remote, told in [one for one in self._open_ones or () if one[0].error is not None]:
            self._on_message(
                f"tracker {remote.kind} failed and is dropped, the run continues: {remote.error}. What it printed is "
                f"in {told.file.with_suffix('.log')}"
            )
            assert self._open_ones is not None
            self._open_ones.remove((remote, told))
            self._dropped.append(remote)


class TrackerState:
    """What a tracker has received, kept in the run folder.

    A step that a killed run had sent is done again when the run continues, with the same values. Trackers that can't
    delete would have it twice.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            state = read_json(file)
        except PrerlkitError:  # the worst that comes of it is that a tracker receives something twice
            state = {}
        self.id: str = state.get("id", "")
        self.step: int = state.get("step", 0)
        self.evaluations: list[str] = state.get("evaluations", [])

    def is_new(self, step: int, evaluation: str) -> bool:
        return evaluation not in self.evaluations if evaluation else step > self.step

    def taken(self, message: Mapping[str, Any]) -> None:
        """The tracker took a message. Called in the tracker's thread, and only there after the opening."""
        if message.get("evaluation"):
            self.evaluations.append(message["evaluation"])
        elif "values" in message:
            self.step = message["step"]
        write_json(self.file, {"id": self.id, "step": self.step, "evaluations": self.evaluations})


def without_secrets(value: Any) -> Any:
    """A recipe as others may see it: what looks like a secret, or is called one, is hidden."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN
            if isinstance(item, str) and _SECRET_KEY.search(key) and key not in _NOT_SECRET
            else without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return redact(value) if isinstance(value, str) else value
