"""Wrong calls of the commands around a run: what they are given, where they write, what they ask for."""

from __future__ import annotations

import json
import socket

import pytest
from ruamel.yaml import YAML

METRICS = [{"step": n, "stage": "rl", "reward/mean": n / 4, "time/step": 1.0, "tokens/generated": 9} for n in (1, 2, 3)]
READERS = ("report", "compare")
PUBLISHERS = {"merge": (), "export": (), "push": ("--repo", "me/mine")}


@pytest.fixture
def place(tiny_recipe, tmp_path):
    """A folder with a finished run in `run` (no weights), and what a person may name by mistake."""
    run = tmp_path / "run"
    run.mkdir()
    with (run / "recipe.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tiny_recipe(), file)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    (run / "summary.json").write_text(json.dumps({"exit_reason": "completed"}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (tmp_path / "file").write_text("hello\n")
    return tmp_path


NO_RUN = {"nothing": "nowhere", "a file": "file", "an empty folder": "empty", "a folder that is no run": "photos"}


@pytest.mark.parametrize("what", NO_RUN)
@pytest.mark.parametrize("command", [*READERS, "report --watch", *PUBLISHERS, "resume"])
def test_a_place_that_is_no_run(refused, place, command, what):
    name, *options = command.split()
    words = (NO_RUN[what], "`prerlkit ")
    refused(words, 2, name, NO_RUN[what], *options, *PUBLISHERS.get(name, ()), advice=True)


@pytest.mark.parametrize("what", NO_RUN)
def test_a_place_that_is_nothing_to_evaluate(refused, place, what):
    refused((NO_RUN[what],), 2, "eval", f"./{NO_RUN[what]}", "--preset", "gsm8k", advice=True)


@pytest.mark.parametrize("command", ["plan", "sweep", "verify-resume"])
@pytest.mark.parametrize("what", ["nowhere.yaml", "./photos", "photos"])
def test_a_place_that_is_no_recipe(refused, place, command, what):
    refused((what.removeprefix("./"),), 2, command, what, advice=True)


JSON = {
    "no JSON": (b"{", "summary.json is not readable JSON"),
    "bytes": (b"\xff\xfe\0", "summary.json is not readable JSON"),
    "a list": (b"[1]", "summary.json holds no JSON object but a list"),
    "deep": (b"[" * 100_000, "summary.json is not readable JSON"),
}


@pytest.mark.parametrize("what", JSON)
@pytest.mark.parametrize("command", [*READERS, *PUBLISHERS])
def test_a_damaged_summary(refused, place, command, what):
    content, words = JSON[what]
    (place / "run" / "summary.json").write_bytes(content)
    refused((words, "from a copy"), 1, command, "run", *PUBLISHERS.get(command, ()), advice=True)


LINES = {
    "a torn last line": b'{"step": 4, "stage": "rl", "rew',
    "bytes": b"\xff\xfe\0\n",
    "a number": b"7\n",
    "a list": b"[]\n",
    "an object that is no step": b"{}\n",
    "deep": b"[" * 100_000 + b"\n",
    "a number that is too long": b"1" * 5000 + b"\n",
}


@pytest.mark.parametrize("file", ["metrics.jsonl", "evaluations.jsonl", "samples.jsonl", "probes.jsonl"])
@pytest.mark.parametrize("what", LINES)
def test_what_is_before_a_damaged_line_is_still_shown(place, monkeypatch, what, file):
    """A killed process and a bad disk leave such lines: a report of the rest is worth more than a refusal."""
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    monkeypatch.chdir(place)
    with (place / "run" / file).open("ab") as lines:
        lines.write(LINES[what])
    done = CliRunner().invoke(app, ["report", "run"])
    assert done.exit_code == 0, done.stderr
    assert "3 of 4" in (place / "run" / "report.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["compare", "run", "--json", "-m", "reward/mean"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)


# arguments, exit code, what the message must say
OUTPUTS = {
    "a report into a folder": (("report", "run", "-o", "empty"), 2, ("empty is a folder", "-o empty/report.html")),
    "a report below a file": (("report", "run", "-o", "file/x.html"), 1, ("can't be written", "-o")),
    "a report where nothing can be": (("report", "run", "-o", "/proc/x.html"), 1, ("can't be written", "-o")),
    "a comparison into a folder": (("compare", "run", "--html", "empty"), 2, ("empty is a folder", "--html empty/")),
    "a comparison below a file": (("compare", "run", "--html", "file/x.html"), 1, ("can't be written", "--html")),
    "a comparison where nothing can be": (("compare", "run", "--html", "/proc/x"), 1, ("can't be written", "--html")),
    "a sweep into a file": (("sweep", "run/recipe.yaml", "-o", "file"), 2, ("file is a file", "--output")),
    "a sweep below a file": (("sweep", "run/recipe.yaml", "-o", "file/x"), 1, ("Not a directory", "another place")),
    "a sweep into a run": (("sweep", "run/recipe.yaml", "-o", "run"), 2, ("run is a run", "--output")),
    "a sweep into something else": (("sweep", "run/recipe.yaml", "-o", "photos"), 2, ("not a sweep", "--output")),
    "a sweep where nothing can be": (("sweep", "run/recipe.yaml", "-o", "/proc/x"), 1, ("/proc/x", "ame a place")),
    "an evaluation into a file": (("eval", "run", "-o", "file"), 2, ("file is a file", "--output")),
    "a merge into a folder": (("merge", "run", "-o", "photos"), 2, ("photos exists", "-o")),
    "a merge into a file": (("merge", "run", "-o", "file"), 2, ("file exists", "-o")),
    "an export into a folder": (("export", "run", "-o", "photos"), 2, ("photos exists", "-o")),
    "an export into a file": (("export", "run", "-o", "file"), 2, ("file exists", "-o")),
}  # fmt: skip


@pytest.mark.parametrize("what", OUTPUTS)
def test_a_place_that_can_not_be_written(refused, place, what):
    arguments, code, words = OUTPUTS[what]
    if "merge" in arguments or "export" in arguments:
        with_weights(place)
    refused(words, code, *arguments, advice=True)


def with_weights(place):
    import torch
    from safetensors.torch import save_file

    for stage in ("warmup", "rl"):
        (place / "run" / "adapters" / stage).mkdir(parents=True)
        save_file({"x": torch.zeros(1)}, place / "run" / "adapters" / stage / "adapter_model.safetensors")


OPTIONS = {
    "a window of nothing": (("compare", "run", "--window", "0"), ("--window",)),
    "an unknown metric": (("compare", "run", "-m", "rewrd/mean"), ("rewrd/mean",)),
    "an unknown key": (("compare", "run", "--by", "stages.sft.steps"), ("stages.sft.steps",)),
    "an unknown baseline": (("compare", "run", "--baseline", "nobody"), ("nobody",)),
    "a port without --watch": (("report", "run", "--port", "1"), ("--watch",)),
    "a port that is none": (("report", "run", "--watch", "--port", "99999"), ("99999", "--port")),
    "a port below nothing": (("report", "run", "--watch", "--port", "-1"), ("-1", "--port")),
    "a file of a live page": (("report", "run", "--watch", "-o", "x"), ("-o",)),
    "seeds that are none": (("sweep", "run/recipe.yaml", "--seeds", "many"), ("--seeds many", "0-4")),
    "seeds backwards": (("sweep", "run/recipe.yaml", "--seeds", "4-0"), ("--seeds 4-0", "0-4")),
    "more seeds than anybody runs": (("sweep", "run/recipe.yaml", "--seeds", "0-9999999999"), ("--seeds", "0-4")),
    "a setting twice": (("sweep", "run/recipe.yaml", "-s", "seed=1"), ("--seeds",)),
    "a setting without a value": (("sweep", "run/recipe.yaml", "-s", "adapter.rank"), ("path=value",)),
    "no jobs": (("sweep", "run/recipe.yaml", "--jobs", "0"), ("--jobs",)),
    "an unknown dtype": (("eval", "run", "--dtype", "float31"), ("model.dtype", "bfloat16")),
    "an unknown preset": (("eval", "run", "--preset", "math501"), ("math501", "math500")),
    "a temperature below nothing": (("eval", "run", "-k", "2", "--temperature", "-1"), ("temperature",)),
    "nothing to estimate": (("eval", "run", "--no-greedy"), ("greedy",)),
    "a k above the samples": (("eval", "run", "-k", "2", "--pass-at", "8"), ("8",)),
    "a card that is not known": (("plan", "run/recipe.yaml", "--gpu", "rtx490"), ("rtx4090",)),
    "an amount that is none": (("plan", "run/recipe.yaml", "--vram", "much"), ("24GiB",)),
    "a card of no memory": (("plan", "run/recipe.yaml", "--vram", "0"), ("24GiB",)),
    "a card and an amount": (("plan", "run/recipe.yaml", "--vram", "8", "--gpu", "l4"), ("exclude",)),
    "shapes that are nowhere": (("plan", "run/recipe.yaml", "--vram", "8", "--config", "x.json"), ("x.json",)),
    "shapes in a file of text": (("plan", "run/recipe.yaml", "--vram", "8", "--config", "file"),
                                 ("file", "config.json")),
    "shapes in an empty folder": (("plan", "run/recipe.yaml", "--vram", "8", "--config", "empty"),
                                  ("empty", "config.json")),
    "a merge by nothing": (("merge", "run", "--lora-scale", "0"), ("--lora-scale",)),
    "a merge into an unknown type": (("merge", "run", "--dtype", "int3"), ("--dtype", "bfloat16")),
    "a rank of nothing": (("export", "run", "--rank", "0"), ("--rank",)),
    "a repository without an owner": (("push", "run", "--base", "a/b", "--repo", "mine"), ("user/name",)),
    "a repository that is no name": (("push", "run", "--base", "a/b", "--repo", "a b/c"), ("user/name",)),
    "an option of the doctor": (("doctor", "--fast"), ("--fast",)),
}  # fmt: skip


@pytest.mark.parametrize("what", OPTIONS)
def test_a_wrong_option(refused, place, what):
    arguments, words = OPTIONS[what]
    with_weights(place)
    refused(words, 2, *arguments, advice=True)


def test_a_port_in_use(refused, place):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused((f"Port {port}", "in use", "Leave out --port"), 2, "report", "run", "--watch", "--port", port)


RECIPES = {
    "an empty recipe": ("", "empty"),
    "a recipe that is a list": ("- 1\n", "a mapping"),
    "a recipe that is no YAML": ("a: [\n", "not valid YAML"),
}


@pytest.mark.parametrize("what", RECIPES)
@pytest.mark.parametrize("command", [*READERS, *PUBLISHERS, "eval"])
def test_a_run_whose_recipe_is_damaged(refused, place, command, what):
    content, words = RECIPES[what]
    (place / "run" / "recipe.yaml").write_text(content)
    refused(("recipe.yaml", words), 2, command, "run", *PUBLISHERS.get(command, ()))


def test_a_damaged_sweep(refused, place):
    (place / "sweep").mkdir()
    (place / "sweep" / "sweep.json").write_text("[]")
    refused(("sweep.json", "copy"), 1, "sweep", "run/recipe.yaml", "-o", "sweep", advice=True, unchanged=False)


def test_the_battery_is_as_large_as_it_says():
    assert len(OUTPUTS) + len(OPTIONS) >= 48
