"""Runs of the tiny recipe inside this process, and a callback that keeps events and asks for a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def go():
    """`go(recipe, output, stop_after=…, existing=…)` runs plain data; gives the summary and its callback."""
    from prerlkit.recipe.schema import Recipe
    from prerlkit.train.callbacks import SilentCallback, StopSignal
    from prerlkit.train.run import run

    class Listener(SilentCallback):
        def __init__(self, stop, stop_after):
            self.notes, self.records, self.stop, self.stop_after = [], [], stop, stop_after

        def on_message(self, text):
            self.notes.append(text)

        def on_step_end(self, record, done, steps):
            self.records.append(record)
            if record.step == self.stop_after:
                self.stop.request()

    def start(recipe: dict, output: Path, *, stop_after=None, listener=None, **options):
        stop = StopSignal()
        callback = listener or Listener(stop, stop_after)
        options.setdefault("recipe_folder", None)
        return run(Recipe.model_validate(recipe), output, callback=callback, stop=stop, **options), callback

    return start


@pytest.fixture
def lines():
    """The objects of a jsonl file; `lines(path, untimed=True)` leaves times and memory out."""

    def read(path: Path, *, untimed: bool = False) -> list[dict]:
        if not path.exists():
            return []
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = [{key: value for key, value in line.items() if key != "crc32"} for line in found]  # of the times too
        if not untimed:
            return found
        return [
            {k: v for k, v in x.items() if not k.startswith(("time/", "memory/")) and k != "seconds"} for x in found
        ]

    return read


@pytest.fixture
def same_run(lines):
    """Assert that two run folders hold the same run, times and memory aside."""

    def check(one: Path, other: Path) -> None:
        weights = "adapter/adapter_model.safetensors"
        assert (one / weights).read_bytes() == (other / weights).read_bytes()
        assert (one / "samples.jsonl").read_bytes() == (other / "samples.jsonl").read_bytes()
        for file in ("metrics.jsonl", "evaluations.jsonl"):
            assert lines(one / file, untimed=True) == lines(other / file, untimed=True)

    return check


@pytest.fixture
def recipe_text(tmp_path):
    """A function that writes plain data as a recipe and gives its path."""
    from ruamel.yaml import YAML

    def write(recipe: dict) -> Path:
        path = tmp_path / "tiny.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(recipe, file)
        return path

    return write
