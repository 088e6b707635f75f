"""Going on: exactly, from what is whole, with the recipe it was started with, in a folder that nobody else uses."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.runs.checkpoints import list_steps
from prerlkit.runs.lock import locked


def test_generators_of_every_kind_are_without_influence(go, same_run, tiny_recipe, tmp_path):
    """No generator state is stored because none is used: python, numpy and torch may be in any state."""
    recipe = tiny_recipe(adapter={"rank": 2, "alpha": 4, "dropout": 0.2})
    go(recipe, tmp_path / "straight")
    go(recipe, tmp_path / "parts", stop_after=3)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    go(recipe, tmp_path / "parts", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")


@pytest.mark.parametrize("reincarnation", ["stack", "merge", "continue"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before_and_nothing_else(
    go, same_run, tiny_recipe, tmp_path, reincarnation
):
    """Also across a stage's border, and with the finished stage's own adapter folder gone."""
    recipe = tiny_recipe(output={"checkpoint_every": 1})
    recipe["stages"][1]["reincarnation"] = reincarnation
    go(recipe, tmp_path / "straight")
    go(recipe, tmp_path / "parts", stop_after=3)
    newest = tmp_path / "parts" / "checkpoints" / "step-000003"
    (newest / "optimizer.safetensors").write_bytes(b"torn")
    shutil.rmtree(tmp_path / "parts" / "adapters")
    _, callback = go(recipe, tmp_path / "parts", existing="resume")
    assert any("step-000003" in note and "resuming from step-000002" in note for note in callback.notes)
    assert [record.step for record in callback.records] == [3, 4]
    same_run(tmp_path / "straight", tmp_path / "parts")


def test_resuming_where_nothing_was_saved_yet_begins_with_the_first_step(go, same_run, tiny_recipe, tmp_path):
    go(tiny_recipe(), tmp_path / "straight")
    _, callback = go(tiny_recipe(), tmp_path / "new", existing="resume")
    assert any("beginning with the first step" in note for note in callback.notes)
    same_run(tmp_path / "straight", tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "checkpoints")  # killed before the first one
    go(tiny_recipe(), tmp_path / "new", existing="resume")
    same_run(tmp_path / "straight", tmp_path / "new")


def test_resuming_a_finished_run_changes_nothing_and_more_steps_go_on(go, same_run, lines, tiny_recipe, tmp_path):
    longer = tiny_recipe()
    longer["stages"] = [longer["stages"][0], {**longer["stages"][1], "steps": 4}]
    go(longer, tmp_path / "straight")
    go(tiny_recipe(), tmp_path / "parts")
    before = (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").read_bytes()
    go(tiny_recipe(), tmp_path / "parts", existing="resume")
    assert (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").read_bytes() == before
    _, callback = go(longer, tmp_path / "parts", existing="resume")
    assert "recipe changed: stages[1].steps 2 → 4" in callback.notes
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "parts" / weights).read_bytes() == (tmp_path / "straight" / weights).read_bytes()
    on_evaluate = [(e["name"], e["step"]) for e in lines(tmp_path / "parts" / "evaluations.jsonl")]
    assert on_evaluate == [("before", 0), ("after warmup", 2), ("after rl", 4), ("after rl", 6)]


def test_a_completed_run_that_is_extended_and_killed_is_no_completed_one(go, same_run, tiny_recipe, tmp_path):
    from prerlkit.compare.groups import group
    from prerlkit.runs.run import Run
    from prerlkit.runs.trained import TrainedRun
    from prerlkit.train.callbacks import SilentCallback

    longer = tiny_recipe(output={"checkpoint_every": 1})
    longer["stages"] = [longer["stages"][0], {**longer["stages"][1], "steps": 5}]
    go(longer, tmp_path / "straight")
    go(tiny_recipe(output={"checkpoint_every": 1}), tmp_path / "out")
    assert Run.open(tmp_path / "out").state == "completed"

    class Copying(SilentCallback):
        """What is on the disk in that moment is what a kill leaves."""

        def on_stage_begin(self, name, steps, done):
            assert Run.open(tmp_path / "out").state == "running"
            shutil.copytree(tmp_path / "out", tmp_path / "killed before a step")

        def on_step_end(self, record, done, steps):
            if record.step == 6:
                shutil.copytree(tmp_path / "out", tmp_path / "killed")

    go(longer, tmp_path / "out", existing="resume", listener=Copying())
    for name, step in (("killed before a step", 4), ("killed", 5)):
        killed = tmp_path / name
        run = Run.open(killed)
        assert run.state == "broken off"
        assert [left.why for left in group([run])[0].left_out] == ["broken off"]
        with pytest.raises(UsageError, match=rf"did not finish .*last checkpoint is of step {step} of 7"):
            TrainedRun.open(killed)
        assert TrainedRun.open(killed, checkpoint=True).step == step
        go(longer, killed, existing="resume")
        assert (killed / "adapter/adapter_model.safetensors").read_bytes() == (
            tmp_path / "straight/adapter/adapter_model.safetensors"
        ).read_bytes()


def test_a_folder_that_is_deleted_during_a_step_ends_the_run(go, tiny_recipe, tmp_path):
    """Begun again by another run, it would have two writers."""
    from prerlkit.train.callbacks import SilentCallback

    class Deleting(SilentCallback):
        def on_step_end(self, record, done, steps):
            if record.step == 2:
                shutil.rmtree(tmp_path / "out")

    with pytest.raises(PrerlkitError, match="was deleted, moved or replaced"):
        go(tiny_recipe(), tmp_path / "out", listener=Deleting())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["samples.jsonl", "evaluations.jsonl"])
def test_a_damaged_line_costs_no_other_line(go, lines, tiny_recipe, tmp_path, file):
    go(tiny_recipe(), tmp_path / "out", stop_after=3)
    path = tmp_path / "out" / file
    before = path.read_bytes()
    _, *others = before.splitlines(keepends=True)
    damaged = before.replace(b":", b";", 1)
    path.write_bytes(damaged)
    _, callback = go(tiny_recipe(), tmp_path / "out", existing="resume")
    assert path.read_bytes().startswith(b"".join(others))
    assert path.with_name(f"{file}.damaged-1").read_bytes() == damaged
    assert any(f"{file} is damaged: line 1 can't be read" in note for note in callback.notes)


def test_a_finished_stage_whose_adapter_is_damaged_is_written_again(go, tiny_recipe, tmp_path):
    from prerlkit.runs.trained import TrainedRun

    go(tiny_recipe(), tmp_path / "out")
    file = tmp_path / "out" / "adapters" / "warmup" / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 0x40]) + whole[-2:])  # an exponent's bit
    with pytest.raises(PrerlkitError, match="is not what the run wrote"):
        TrainedRun.open(tmp_path / "out", weights=True)
    go(tiny_recipe(), tmp_path / "out", existing="resume")
    assert file.read_bytes() == whole
    TrainedRun.open(tmp_path / "out", weights=True)


def test_two_runs_on_one_folder(go, tiny_recipe, tmp_path):
    """The second is refused before it loads anything, and says who is there; the lock goes with its holder."""
    go(tiny_recipe(), tmp_path / "out", stop_after=1)
    script = "import sys, time; from pathlib import Path; from prerlkit.runs.lock import locked\n"
    script += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", script, tmp_path / "out"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        for existing in ("resume", "overwrite", "refuse"):
            with pytest.raises(UsageError, match=f"is in use by another run: process {holder.pid} on"):
                go(tiny_recipe(), tmp_path / "out", existing=existing)
    finally:
        holder.kill()  # -9: nothing is cleaned up
        holder.wait()
        holder.stdout.close()
    summary, _ = go(tiny_recipe(), tmp_path / "out", existing="resume")
    assert summary.exit_reason == "completed"


def test_the_lock_is_held_through_the_run(go, tiny_recipe, tmp_path):
    from prerlkit.train.callbacks import SilentCallback

    refused = []

    class Intruder(SilentCallback):
        def on_step_end(self, record, done, steps):
            with pytest.raises(UsageError, match="in use") as error, locked(tmp_path / "out"):
                pass
            refused.append(error)

    go(tiny_recipe(), tmp_path / "out", listener=Intruder())
    assert len(refused) == 4


def test_verify_resume_proves_it_and_finds_a_difference(tiny_recipe, monkeypatch, tmp_path):
    from prerlkit.recipe.schema import Recipe
    from prerlkit.train import verify_resume as prove_module
    from prerlkit.train.verify_resume import prove, shorten

    recipe = shorten(Recipe.model_validate(tiny_recipe()), 4)
    proof = prove(recipe, None, 3, keep=tmp_path / "kept")
    assert proof.different == ()
    assert len(proof.equal) >= 10
    assert list_steps(tmp_path / "kept" / "parts" / "checkpoints")[-1] == 4
    # A resumed run that draws otherwise: this is what it is for.
    real = prove_module._scramble_generators
    from prerlkit.train import run as run_module

    def forget():
        real()
        original = run_module.Checkpoint.restore_optimizer
        monkeypatch.setattr(run_module.Checkpoint, "restore_optimizer", lambda self, optimizer: None)
        assert original is not None

    monkeypatch.setattr(prove_module, "_scramble_generators", forget)
    proof = prove(recipe, None, 1)
    assert any("adapter_model.safetensors: bytes differ" in line for line in proof.different)


def test_shortening_gives_each_stage_a_share():
    from prerlkit.recipe.load import load
    from prerlkit.train.verify_resume import shorten

    recipe = load("quickstart_dsrl").recipe
    assert [stage.steps for stage in shorten(recipe, 4).stages] == [2, 2]
    assert [stage.steps for stage in shorten(recipe, 3).stages] == [1, 2]


@pytest.mark.slow
def test_kill_9_at_20_random_moments(tiny_recipe, tmp_path, lines, same_run, monkeypatch):
    """Each time: the command, killed a random while after its start or a step, then the same command with --resume.

    The processes are forked from one that has torch loaded, so that the moments fall into the run and not into imports.
    """
    import multiprocessing
    import time

    from ruamel.yaml import YAML

    recipe = tmp_path / "tiny.yaml"
    with recipe.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tiny_recipe(output={"checkpoint_every": 1}, evaluation={"when": []}), file)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prerlkit.cli.app", "prerlkit.cli.render.display", "prerlkit.train.run"])
    import prerlkit.cli

    def start(*args: str):
        monkeypatch.setattr(sys, "argv", ["prerlkit", "run", str(recipe), "--quiet", *args])
        process = context.Process(target=prerlkit.cli.main)
        process.start()
        return process

    def complete(*args: str) -> float:
        begun = time.monotonic()
        process = start(*args)
        process.join(60)
        assert process.exitcode == 0
        return time.monotonic() - begun

    def count(metrics: Path) -> int:
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    complete("-o", str(tmp_path / "warm"))  # the server's own start, not to be counted
    whole = complete("-o", str(tmp_path / "straight"))
    draws = random.Random(20)
    killed, reached = 0, set()
    for number in range(100):
        if killed == 20:
            break
        folder = tmp_path / f"killed-{number}"
        metrics = folder / "metrics.jsonl"
        process = start("-o", str(folder))
        # By the clock alone a busy machine would be hit before the first step each time, or behind the last.
        while process.is_alive() and count(metrics) < number % 4:
            time.sleep(0.002)
        if killed >= 4:  # the first four are hit right behind their step
            process.join(draws.random() * whole / 6)
        if process.is_alive():
            process.kill()
            killed += 1
        else:
            whole /= 2  # it was measured on a busier machine: later moments would all be behind the end
        process.join()
        reached.add(count(metrics))
        complete("-o", str(folder), "--resume")
        same_run(tmp_path / "straight", folder)
        assert [line["step"] for line in lines(metrics)] == [1, 2, 3, 4]
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
        shutil.rmtree(folder)
    assert killed == 20
    assert len(reached) >= 3, f"the moments fell on too few places: {reached}"
