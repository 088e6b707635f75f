"""The end of a run: where its trackers have written, files on lines of their own, commands that stay whole."""

from __future__ import annotations

import io
import json

import pytest

from prerlkit.cli.render.display import Display
from prerlkit.cli.visible import VisibleConsole
from prerlkit.recipe.schema import Recipe
from prerlkit.runs.checkpoint import Position
from prerlkit.train.summary import Summary


@pytest.fixture
def finish(tiny_recipe, tmp_path):
    """A function that gives the lines at the end of a run with three trackers, of which two have received something."""
    folder = tmp_path / "a run"
    (folder / "trackers").mkdir(parents=True)
    for kind in ("tensorboard", "trackio"):
        (folder / "trackers" / f"{kind}.json").write_text("{}")
    (folder / "environment.json").write_text(json.dumps({"model": {"path": "/models/base"}}))
    trackers = ["tensorboard", {"kind": "wandb", "project": "sums"}, {"kind": "trackio", "project": "my sums"}]
    recipe = Recipe.model_validate(tiny_recipe(output={"trackers": trackers}))

    def lines(reason: str) -> list[str]:
        out = io.StringIO()
        display = Display(VisibleConsole(width=60, file=out), recipe=recipe)
        display.summary = Summary(reason, (), Position(step=4, seconds=65.0), 2**30)
        display.finish(folder, command=f"prerlkit resume '{folder}'")
        return [line.replace(str(folder), "RUN") for line in out.getvalue().splitlines()]

    return lines


def test_a_completed_run_names_its_files_and_those_of_its_trackers(finish):
    assert finish("completed")[:7] == [
        "completed after 4 steps in 1 min 05 s, peak memory 1.0 GiB",
        "tensorboard  tensorboard --logdir 'RUN/tensorboard'",
        "trackio      trackio show --project 'my sums'",
        "adapter      RUN/adapter  (all stages as one PEFT adapter)",
        "metrics      RUN/metrics.jsonl",
        "samples      RUN/samples.jsonl",
        "look at it   prerlkit report RUN",
    ]


def test_a_stopped_run_names_its_trackers_and_the_command_that_continues(finish):
    assert finish("stopped")[1:] == [
        "tensorboard  tensorboard --logdir 'RUN/tensorboard'",
        "trackio      trackio show --project 'my sums'",
        "continue with:  prerlkit resume 'RUN'",
    ]


def test_what_each_tracker_writes_has_a_place(tmp_path, tiny_recipe):
    trackers = [{"kind": "wandb", "project": "sums", "online": True}, {"kind": "trackio", "space": "me/space"}]
    online = Recipe.model_validate(tiny_recipe(output={"trackers": trackers})).output.trackers
    assert [use.where(tmp_path) for use in online] == ["project sums, online", "Space me/space"]
    (offline,) = Recipe.model_validate(tiny_recipe(output={"trackers": ["wandb"]})).output.trackers
    assert offline.where(tmp_path) == f"wandb sync {tmp_path}/wandb/offline-run-*"
