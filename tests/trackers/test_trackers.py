"""Trackers receive what a run does, once, and none of them can stop it."""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import prerlkit
from prerlkit.errors import UsageError
from prerlkit.evaluation.estimates import Estimate
from prerlkit.evaluation.result import EvalResult, values_of
from prerlkit.evaluation.stage_effect import StageEffect
from prerlkit.install import pip_install
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.trackers.remote import TrackerProcess
from prerlkit.trackers.watching import Fanout, tracked, without_secrets
from prerlkit.train.callbacks import SilentCallback
from prerlkit.types import StepRecord

RESULT = EvalResult("before", 0, 4, 1.0, Estimate(0.25, 0.1, 0.5), None, {}, 0.0, 0.5, 7.0)


class Notes(SilentCallback):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_message(self, text: str) -> None:
        self.texts.append(text)


def step(number: int) -> StepRecord:
    return StepRecord(number, "rl", {"reward/mean": number / 10}, ())


def behaving(body: str):
    """An `open_remote` whose process runs `body` for each line that it reads; `opened` has what it gave."""
    program = f"import sys, json, time\nfor line in sys.stdin:\n    message = json.loads(line)\n    {body}"

    def open_remote(kind, opening, log, done):
        opened.append(TrackerProcess(kind, opening, log, done, patience=2.0, command=[sys.executable, "-c", program]))
        return opened[-1]

    opened = open_remote.opened = []
    return open_remote


def wait_for(holds, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


def recorded(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard reads: by name, value by step; a step that is there twice fails."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    found.Reload()
    values = {}
    for name in found.Tags()["tensors"]:
        events = [(event.step, float(make_ndarray(event.tensor_proto))) for event in found.Tensors(name)]
        assert len({number for number, _ in events}) == len(events), name
        values[name] = dict(events)
    return values


def test_a_run_ends_up_in_tensorboard_and_its_resumption_says_nothing_twice(tiny_recipe, tmp_path):
    recipe = tiny_recipe(output={"trackers": ["tensorboard"], "checkpoint_every": 1})
    prerlkit.run(recipe, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    found = recorded(tmp_path / "run")
    assert found["reward/mean"] == {n["step"]: pytest.approx(n["reward/mean"]) for n in lines}
    assert sorted(found["eval/accuracy"]) == [0, 2, 4]
    assert json.loads((tmp_path / "run/trackers/tensorboard.json").read_text())["step"] == 4

    longer = {**recipe, "stages": [recipe["stages"][0], {**recipe["stages"][1], "steps": 3}]}
    prerlkit.run(longer, tmp_path / "run", existing="resume")
    again = recorded(tmp_path / "run")
    assert sorted(again["reward/mean"]) == [1, 2, 3, 4, 5]
    assert sorted(again["eval/accuracy"]) == [0, 2, 4, 5]


def test_steps_that_a_killed_run_had_told_are_not_told_again(tiny_recipe, tmp_path):
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["tensorboard"]}))
    for steps in ((1, 2, 3), (2, 3, 4)):  # killed after 3 with a checkpoint at 1
        with tracked(recipe, tmp_path, Notes()) as callback:
            callback.on_evaluate(RESULT)
            for number in steps:
                callback.on_step_end(step(number), number, 4)
    assert sorted(recorded(tmp_path)["reward/mean"]) == [1, 2, 3, 4]
    assert sorted(recorded(tmp_path)["eval/accuracy"]) == [0]


def test_without_trackers_the_callback_is_itself(tiny_recipe, tmp_path):
    callback = Notes()
    with tracked(Recipe.model_validate(tiny_recipe()), tmp_path, callback) as same:
        assert same is callback
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit(3)", r"its process ended \(exit code 3\)"),
        ("time.sleep(60)", "no answer in 2 s"),
        ("print(json.dumps({'error': 'OSError: no space'}), flush=True)", "OSError: no space"),
        ("print('{}' if 'step' not in message else 'garbage', flush=True)", "Expecting value"),
        ("print('[1]', flush=True)", "instead of an answer"),
        ("print('{\"error\": 5}', flush=True)", "instead of an answer"),
        ("print('[' * 100_000, flush=True)", "instead of an answer"),
        ("sys.stdout.write('{'); sys.stdout.flush(); time.sleep(60)", "no answer in 2 s"),
        ("[sys.stdout.write(' ' * 65536) for i in range(10**6)]", "instead of an answer"),
    ],
)
def test_a_tracker_that_dies_hangs_or_fails_is_noted_once_and_dropped(tiny_recipe, tmp_path, monkeypatch, body, why):
    waiting = []

    def select_in_thread(*arguments):
        waiting.append(threading.current_thread())
        return select.select(*arguments)

    monkeypatch.setattr("prerlkit.trackers.remote.select", SimpleNamespace(select=select_in_thread))
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["tensorboard"]}))
    notes = Notes()
    opening = behaving(body)
    with tracked(recipe, tmp_path, notes, opening) as callback:
        for number in range(1, 4):
            callback.on_step_end(step(number), number, 50)
        (remote,) = opening.opened
        wait_for(lambda: remote.error is not None)
        for number in range(4, 9):
            callback.on_step_end(step(number), number, 50)
    assert waiting
    assert threading.main_thread() not in waiting  # the loop does not wait for an answer
    assert len(notes.texts) == 1
    assert re.search(why, notes.texts[0])
    assert "tracker tensorboard failed and is dropped, the run continues" in notes.texts[0]
    assert remote._process.poll() is not None  # no process is left behind


def test_a_tracker_that_is_slow_at_the_end_is_ended(tiny_recipe, tmp_path):
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["tensorboard"]}))
    notes = Notes()
    slow = "time.sleep(60 if 'close' in message else 0); print('{}', flush=True)"
    with tracked(recipe, tmp_path, notes, behaving(slow)) as callback:
        callback.on_step_end(step(1), 1, 1)
    assert len(notes.texts) == 1
    assert "no answer in 2 s" in notes.texts[0]


def test_one_dead_tracker_leaves_the_others(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("prerlkit.trackers.watching.check_trackers", lambda recipe: None)
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["wandb", "tensorboard"]}))
    dying = behaving("sys.exit(1)")

    def open_remote(kind, *rest):
        return dying(kind, *rest) if kind == "wandb" else TrackerProcess(kind, *rest)

    notes = Notes()
    with tracked(recipe, tmp_path, notes, open_remote) as callback:
        callback.on_step_end(step(1), 1, 2)
        wait_for(lambda: dying.opened[0].error is not None)
        callback.on_step_end(step(2), 2, 2)
    assert [text.split()[1] for text in notes.texts] == ["wandb"]
    assert sorted(recorded(tmp_path)["reward/mean"]) == [1, 2]


def test_a_missing_package_is_found_before_anything_loads(tiny_recipe, tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["trackio"]}))
    message = re.escape(f"pip install trackio, or all of them: {pip_install('track')}")
    with pytest.raises(UsageError, match=message), tracked(recipe, tmp_path, Notes()):
        raise AssertionError("never here")
    assert list(tmp_path.iterdir()) == []


def test_trackers_in_a_recipe(tiny_recipe):
    from pydantic import ValidationError

    uses = ["tensorboard", {"kind": "wandb", "project": "sums", "online": True}]
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": uses}))
    assert [use.kind for use in recipe.output.trackers] == ["tensorboard", "wandb"]
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    for wrong in (["tensorbord"], ["wandb", {"kind": "wandb"}], [{"kind": "tensorboard", "online": True}]):
        with pytest.raises(ValidationError):
            Recipe.model_validate(tiny_recipe(output={"trackers": wrong}))


def test_a_wrong_name_is_explained(tiny_recipe, tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(tiny_recipe(output={"trackers": ["tensorbord"]})))  # JSON is YAML
    with pytest.raises(UsageError, match='did you mean "tensorboard"'):
        load(str(file))


def test_secrets_do_not_leave(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "verysecretvalue")
    shown = without_secrets(
        {"a": ["https://user:pass@host/x", "verysecretvalue"], "api_key": "short", "start_token": "auto", "n": 1}
    )
    assert shown == {"a": ["https://[hidden]@host/x", "[hidden]"], "api_key": "[hidden]", "start_token": "auto", "n": 1}


def test_everybody_hears_everything():
    class Ear(SilentCallback):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_message(self, text):
            self.heard.append(f"note {text}")

        def on_stage_begin(self, name, steps, done):
            self.heard.append(f"stage {name}")

        def progress(self, what, done, total):
            self.heard.append(f"progress {done}")

        def on_step_end(self, record, done, steps):
            self.heard.append(f"step {record.step}")

        def on_evaluate(self, result):
            self.heard.append(f"eval {result.name}")

        def on_stage_end(self, effect):
            self.heard.append(f"end of {effect.stage}")

    ears = (Ear(), Ear())
    both = Fanout(*ears)
    both.on_message("x")
    both.on_stage_begin("rl", 2, 0)
    both.progress("rollout", 1, 2)
    both.on_step_end(step(1), 1, 2)
    both.on_evaluate(RESULT)
    both.on_stage_end(StageEffect("rl", 2))
    heard = ["note x", "stage rl", "progress 1", "step 1", "eval before", "end of rl"]
    assert ears[0].heard == ears[1].heard == heard
    assert values_of(RESULT.to_json())["eval/accuracy"] == 0.25


def test_wandb_offline_for_real(tiny_recipe, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")  # the recipe says nothing of that
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["wandb"]}))
    notes = Notes()
    with tracked(recipe, tmp_path, notes) as callback:
        callback.on_evaluate(RESULT)
        for number in (1, 2):
            callback.on_step_end(step(number), number, 2)
    assert notes.texts == []
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"reward/mean" in content
    assert b"group_size" in content  # the recipe
    assert str(tmp_path).encode() not in content
    assert not re.search(rb"\b" + re.escape(socket.gethostname().encode()) + rb"\b", content)
    assert not list((tmp_path / "wandb").rglob("wandb-metadata.json"))


def test_trackio_for_real(tiny_recipe, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    import sqlite3

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/else")  # the recipe says nothing of a Space
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": ["trackio"]}))
    notes = Notes()
    for steps in ((1, 2), (2, 3)):
        with tracked(recipe, tmp_path / "run", notes) as callback:
            for number in steps:
                callback.on_step_end(step(number), number, 3)
    assert notes.texts == []
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert [row[1] for row in rows] == [1, 2, 3]
    assert len({row[0] for row in rows}) == 1
    assert json.loads(rows[0][2])["reward/mean"] == 0.1
