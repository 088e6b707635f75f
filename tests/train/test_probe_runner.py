"""Probes in a run: they leave it as it was, tell their cost, are resumed exactly, and refuse what can't work."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from prerlkit.errors import UsageError
from prerlkit.probes.registry import known_probes, make_probes, metric_names
from prerlkit.recipe.schema import Recipe
from prerlkit.train import run as run_module
from prerlkit.train.validate import check_settings
from prerlkit.types import Group, Prompt

ALL = [
    {"name": "alignment", "every": 1},
    {"name": "thoughts", "start": 1},
    {"name": "exploration", "exact_entropy": True},
    {"name": "drift", "every": 2},
    {"name": "change", "every": 1, "groups": 1},
]


def measured(line: dict) -> dict:
    return {k: v for k, v in line.items() if k.startswith(("probe/", "time/probe"))}


@pytest.mark.parametrize("reincarnation", ["stack", "merge", "continue"])
def test_a_run_with_all_probes_ends_in_the_bytes_of_one_without(go, lines, tiny_recipe, tmp_path, reincarnation):
    recipe = tiny_recipe(adapter={"rank": 2, "alpha": 4, "dropout": 0.2}, output={"checkpoint_every": 1})
    recipe["stages"][1] |= {"reincarnation": reincarnation, "objective": {"preset": "grpo", "kl": {"coefficient": 0.1}}}
    go(recipe, tmp_path / "without")
    go({**recipe, "probes": ALL}, tmp_path / "with")
    one, other = tmp_path / "without", tmp_path / "with"
    tensors = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert {path.name for path in tensors} >= {"optimizer.safetensors", "adapter_model.safetensors"}
    assert [path for path in tensors if (one / path).read_bytes() != (other / path).read_bytes()] == []
    assert (one / "samples.jsonl").read_bytes() == (other / "samples.jsonl").read_bytes()
    plain, probed = (lines(run / "metrics.jsonl", untimed=True) for run in (one, other))
    assert [{k: v for k, v in line.items() if not k.startswith("probe/")} for line in probed] == plain
    assert [measured(line) != {} for line in probed] == [True] * 4
    assert all(measured(line) == {} for line in plain)
    assert not (one / "probes.jsonl").exists()


def test_each_probe_is_measured_when_it_is_due_and_says_what_it_cost(go, lines, tiny_recipe, tmp_path):
    recipe = tiny_recipe(probes=ALL)
    recipe["stages"] = [{**stage, "steps": 3} for stage in recipe["stages"]]
    go(recipe, tmp_path / "out")
    steps = lines(tmp_path / "out" / "metrics.jsonl")
    details = lines(tmp_path / "out" / "probes.jsonl")
    assert ["probe/drift/kl" in line for line in steps] == [True, False, True] * 2  # each stage's first, every second
    assert [(line["step"], line["stage"]) for line in details] == [(line["step"], line["stage"]) for line in steps]
    assert ["drift" in line for line in details] == [True, False, True] * 2
    for line in steps:
        own = [line[f"time/probe/{p['name']}"] for p in ALL if f"time/probe/{p['name']}" in line]
        assert len(own) == (5 if "probe/drift/kl" in line else 4)
        assert 0 < sum(own) <= line["time/probes"]
    known = {name for probe in known_probes() for name in metric_names(probe)}
    found = {key for line in steps for key in line if key.startswith("probe/")}
    assert found <= known
    assert {"probe/alignment", "probe/exploration/entropy", "probe/drift/kl", "probe/thoughts/reflection"} <= found
    # A fresh adapter is the base; after some steps it isn't, and in the second stage the first one lies below.
    assert steps[0]["probe/drift/kl"] == pytest.approx(0.0, abs=1e-6)
    assert steps[2]["probe/drift/kl"] > 1e-6
    assert details[0]["alignment"]["by_factor"]["all"]["A"] is None
    assert details[1]["alignment"]["by_factor"]["all"]["A"] is not None
    assert "probe/drift/overlap_inputs" not in steps[2]
    assert "probe/drift/overlap_inputs" in steps[5]
    # What is seen after the update is of the same step.
    assert all(line["probe/change/pretrain"] != 0.0 for line in steps if line["optim/skipped"] == 0)
    kept = lines(tmp_path / "out" / "samples.jsonl")
    shown = {line["step"]: line["change"]["groups"][0] for line in details}
    first = {line["step"]: line for line in reversed(kept)}
    for step, group in shown.items():
        assert group["prompt_id"] == first[step]["prompt_id"]
        counts = [len(tokens["conditional_change"]) for tokens in group["completions"]]
        assert counts == [completion["tokens"] for completion in first[step]["completions"]]


def test_what_probes_say_is_resumed_exactly(go, same_run, tiny_recipe, tmp_path):
    recipe = tiny_recipe(probes=[{"name": "thoughts", "start": 2}, "alignment", "exploration", "drift", "change"])
    go(recipe, tmp_path / "straight")
    go(recipe, tmp_path / "parts", stop_after=3)
    with (tmp_path / "parts" / "probes.jsonl").open("a") as file:  # written just before a kill
        file.write(json.dumps({"step": 4, "stage": "rl", "drift": {}}) + "\n")
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")
    straight, parts = ((tmp_path / run / "probes.jsonl").read_bytes() for run in ("straight", "parts"))
    assert straight == parts
    go({**recipe, "probes": []}, tmp_path / "parts", existing="resume")  # probes may change


def test_out_of_memory_costs_a_measurement_and_not_the_run(go, lines, tiny_recipe, tmp_path, monkeypatch):
    from prerlkit.probes.alignment import Alignment

    real, budgets = Alignment.measure, []

    def short_of_memory(self, seen):
        budgets.append(seen.pass_tokens)
        if seen.pass_tokens > 500 or len(budgets) > 6:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        return real(self, seen)

    monkeypatch.setattr(Alignment, "measure", short_of_memory)
    _, callback = go(tiny_recipe(probes=[{"name": "alignment", "every": 1}]), tmp_path / "out")
    assert budgets[:5] == [4096, 2048, 1024, 512, 256]
    steps = lines(tmp_path / "out" / "metrics.jsonl")
    assert ["probe/alignment" in line for line in steps] == [True, True, False, False]
    assert any("probe alignment ran out of memory: 256 tokens" in note for note in callback.notes)
    assert any("nothing is measured in this step" in note for note in callback.notes)


def test_a_probe_that_fails_loses_no_step(go, tiny_recipe, tmp_path, monkeypatch):
    from prerlkit.probes.drift import Drift

    real, calls = Drift.measure, []

    def once(self, seen):
        calls.append(seen)
        if len(calls) == 2:
            raise ValueError("a bug")
        return real(self, seen)

    monkeypatch.setattr(Drift, "measure", once)
    recipe = tiny_recipe(probes=[{"name": "drift", "every": 1}])
    with pytest.raises(ValueError, match="a bug"):
        go(recipe, tmp_path / "out")
    summary, callback = go(recipe, tmp_path / "out", existing="resume")
    assert summary.exit_reason == "completed"
    assert [record.step for record in callback.records] == [2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probes": ["alignment"], "memory": {"shard_base": True}}, '"alignment" makes passes'),
        ({"probes": ["drift"], "memory": {"shard_base": True}}, '"drift" makes passes'),
        ({"probes": [ALL[2]], "memory": {"shard_base": True}}, '"exploration" makes passes'),
        ({"probes": ["change"], "memory": {"shard_base": True}}, '"change" makes passes'),
        ({"probes": ["drift"], "adapter": {"rank": 2, "dora": True}}, "DoRA"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(tiny_recipe, changes, words):
    recipe = tiny_recipe(**changes)
    recipe["stages"] = recipe["stages"][:1]
    with pytest.raises(UsageError, match=words):
        check_settings(Recipe.model_validate(recipe), None)


def test_a_recipe_with_probes_is_checked_without_loading_torch():
    code = "import sys; from prerlkit.recipe.load import load; from prerlkit.train.validate import check_settings\n"
    code += "loaded = load('smoke', ['probes=[alignment, drift]']); check_settings(loaded.recipe, loaded.folder)\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_can_be_told_without_passes_goes_with_a_shared_out_base(tiny_recipe):
    recipe = Recipe.model_validate(tiny_recipe(probes=["thoughts", "exploration"], memory={"shard_base": True}))
    check_settings(recipe, None)
    assert [probe.name for probe in make_probes(recipe)] == ["thoughts", "exploration"]


def test_the_first_process_measures_for_all(tiny_recipe):
    """The others take what it found; an empty list asks nobody."""
    from prerlkit.train.probe_runner import ProbeMetrics, ProbeRunner

    class Elsewhere:
        asked = 0

        def from_primary(self, make):
            self.asked += 1
            return ProbeMetrics({"probe/alignment": 0.5})

    stage = Recipe.model_validate(tiny_recipe()).stages[0]
    memory, world = Recipe.model_validate(tiny_recipe()).memory, Elsewhere()
    probing = ProbeRunner(
        make_probes(Recipe.model_validate(tiny_recipe(probes=["alignment"]))), None, memory, world, print
    )
    groups = (Group(Prompt("", "", ()), (), ()),)
    assert probing.measure(stage, 0, groups, []).metrics == {"probe/alignment": 0.5}
    assert probing.measure(stage, 0, (), []) == ProbeMetrics()  # a supervised step samples nothing
    assert ProbeRunner((), None, memory, world, print).measure(stage, 0, groups, []) == ProbeMetrics()
    assert world.asked == 1
    assert run_module.ProbeRunner is ProbeRunner
