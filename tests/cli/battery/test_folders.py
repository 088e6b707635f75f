"""More than fifteen wrong run folders, adapters in them included, and model folders: named, and nothing made worse."""

from __future__ import annotations

import json
import shutil

import pytest
from ruamel.yaml import YAML


@pytest.fixture(scope="session")
def stopped_run(tiny_recipe, tmp_path_factory):
    """A run of the tiny model that stopped after the third of its four steps, and its recipe file."""
    from prerlkit.recipe.schema import Recipe
    from prerlkit.train.callbacks import SilentCallback, StopSignal
    from prerlkit.train.run import run

    place = tmp_path_factory.mktemp("stopped")
    data = tiny_recipe(evaluation={"when": []}, output={"checkpoint_every": 3})
    with (place / "tiny.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(data, file)
    stop = StopSignal()

    class After3(SilentCallback):
        def on_step_end(self, record, done, steps):
            if record.step == 3:
                stop.request()

    run(Recipe.model_validate(data), place / "out", recipe_folder=place, callback=After3(), stop=stop)
    return place


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def checkpoints(out):
    return sorted((out / "checkpoints").iterdir())


def each(name, change):
    """Do the same to a file of both checkpoints."""

    def damage(out):
        for folder in checkpoints(out):
            for file in folder.glob(name):
                change(file)

    return damage


def swap(out):
    """The two checkpoints' optimizers exchanged, whole files both."""
    one, two = (folder / "optimizer.safetensors" for folder in checkpoints(out))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def edit_lines(file, change):
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(change(lines)))


def forged(out):
    """Rewritten with right checksums: the adapter of another shape."""
    import hashlib

    import torch
    from safetensors.torch import load_file, save_file

    for folder in checkpoints(out):
        file = folder / "adapter.warmup.safetensors"
        save_file({name: torch.zeros(1, 1) for name in load_file(file)}, file)
        sums = json.loads((folder / "checksums.json").read_text())
        sums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        (folder / "checksums.json").write_text(json.dumps(sums))


# what is done to the run, exit code, what the message must say
WRONG = {
    "every adapter with a flipped bit": (each("adapter.*", flip), 1, ("No checkpoint", "step-000003", "adapter.")),
    "every adapter cut off": (each("adapter.*", lambda f: f.write_bytes(f.read_bytes()[:99])), 1, ("SHA-256 differs",)),
    "every adapter empty": (each("adapter.*", lambda f: f.write_bytes(b"")), 1, ("SHA-256 differs",)),
    "every adapter a pickle": (each("adapter.*", lambda f: f.write_bytes(b"\x80\x04cos\nsystem\n.")), 1, ("differs",)),
    "every adapter gone": (each("adapter.*", lambda f: f.unlink()), 1, ("is missing",)),
    "optimizers of other steps": (swap, 1, ("No checkpoint", "optimizer.safetensors is not what was written")),
    "adapters of another shape, checksums forged": (forged, 1, ("does not fit this recipe's model",)),
    "every optimizer with a flipped bit": (each("optimizer.*", flip), 1, ("optimizer.safetensors is not what",)),
    "every optimizer gone": (each("optimizer.*", lambda f: f.unlink()), 1, ("optimizer.safetensors is missing",)),
    "every state edited": (each("state.json", lambda f: f.write_text(f.read_text().replace("1", "2"))), 1,
                           ("state.json is not what was written",)),
    "every state gone": (each("state.json", lambda f: f.unlink()), 1, ("state.json is missing",)),
    "no checksums": (each("checksums.json", lambda f: f.unlink()), 1, ("checksums.json is missing",)),
    "checksums that are no JSON": (each("checksums.json", lambda f: f.write_text("sha")), 1, ("JSON",)),
    "checksums that are a list": (each("checksums.json", lambda f: f.write_text("[1]")), 1, ("JSON",)),
    "no recipe": (lambda out: (out / "recipe.yaml").unlink(), 2, ("is not a run (no recipe.yaml)",)),
    "an empty recipe": (lambda out: (out / "recipe.yaml").write_text(""), 2, ("recipe.yaml", "empty")),
    "another recipe": (lambda out: (out / "recipe.yaml").write_text(
        (out / "recipe.yaml").read_text().replace("rank: 2", "rank: 4")), 2,
        ("another recipe", "- adapter.rank: 4", "+ adapter.rank: 2")),
    "other data in a recipe": (lambda out: (out / "recipe.yaml").write_text(
        (out / "recipe.yaml").read_text().replace("high: 9", "high: 8")), 2, ("another recipe", "settings.high")),
    "metrics without a step": (lambda out: edit_lines(out / "metrics.jsonl", lambda x: x[:1] + x[2:]), 1,
                               ("metrics.jsonl is damaged", "line 2 is not step 2")),
    "metrics with a step twice": (lambda out: edit_lines(out / "metrics.jsonl", lambda x: x[:1] + x), 1,
                                  ("metrics.jsonl is damaged", "line 2 is not step 2")),
    "metrics with a torn line in the middle": (
        lambda out: edit_lines(out / "metrics.jsonl", lambda x: [x[0], x[1][:40] + "\n", x[2]]), 1,
        ("metrics.jsonl is damaged", "line 2")),
    "no metrics": (lambda out: (out / "metrics.jsonl").unlink(), 1, ("metrics.jsonl is damaged", "line 1")),
    "metrics that are bytes": (lambda out: (out / "metrics.jsonl").write_bytes(b"\xff\xfe"), 1, ("metrics.jsonl",)),
    "lines that are no steps": (lambda out: (out / "metrics.jsonl").write_text("[]\n7\n{}\n"), 1, ("metrics.jsonl",)),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_run_folder(refused, stopped_run, tmp_path, case):
    damage, code, words = WRONG[case]
    shutil.copytree(stopped_run, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "out")
    refused(words, code, "run", "tiny.yaml", "-o", "out", "--resume")


def test_the_battery_is_as_large_as_it_says():
    assert len(WRONG) >= 15


def test_the_run_that_the_battery_breaks_goes_on(stopped_run, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    shutil.copytree(stopped_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run", "tiny.yaml", "-o", "out", "--resume"])
    assert done.exit_code == 0, done.stderr
    assert len((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()) == 4


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MODELS = {
    "no config": (lambda m: (m / "config.json").unlink(), ("config.json",)),
    "an empty config": (lambda m: (m / "config.json").write_text(""), ("config.json",)),
    "a config that is no JSON": (lambda m: (m / "config.json").write_text("{"), ("config.json",)),
    "a config of an unknown architecture": (
        lambda m: (m / "config.json").write_text('{"model_type": "martian"}'), ("martian",)),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), ("no *.safetensors",)),
    "weights cut in half": (lambda m: cut(m / "model.safetensors"), ("could not be loaded",)),
    "no tokenizer": (lambda m: [p.unlink() for p in m.glob("tokenizer*")], ("tokenizer",)),
    "a tokenizer cut in half": (lambda m: cut(m / "tokenizer.json"), ("tokenizer",)),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_a_wrong_model_folder(refused, tiny_model, tiny_recipe, tmp_path, case):
    damage, words = MODELS[case]
    shutil.copytree(tiny_model, tmp_path / "model")
    damage(tmp_path / "model")
    with (tmp_path / "tiny.yaml").open("w", encoding="utf-8") as file:
        model = {"id": "./model", "dtype": "float32", "device": "cpu"}
        YAML(typ="safe", pure=True).dump(tiny_recipe(model=model), file)
    code = 2 if "config" in case or case == "no weights" else 1
    refused(words, code, "run", "tiny.yaml", "-o", "out")
