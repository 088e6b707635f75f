"""Faults injected into whole runs: what happens is what docs/reliability.md says."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest

from prerlkit.errors import PrerlkitError
from prerlkit.policy.policy import Policy
from prerlkit.train.callbacks import SilentCallback
from prerlkit.types import Completion


def change_engine(monkeypatch, wrap):
    """Have runs use `wrap(real engine)`."""
    real = Policy.engine

    def wrapped(policy, *args, **options):
        engine, note = real(policy, *args, **options)
        return wrap(engine), note

    monkeypatch.setattr(Policy, "engine", wrapped)


class Wrapped:
    def __init__(self, inner):
        self.inner = inner

    def sync_weights(self):
        return self.inner.sync_weights()

    def close(self):
        self.inner.close()


def test_an_engine_that_dies_once_changes_nothing(go, same_run, tiny_recipe, tmp_path, monkeypatch):
    go(tiny_recipe(), tmp_path / "straight")
    batches = []

    class Dying(Wrapped):
        def generate(self, prompts, sampling):
            batches.append(1)
            for number, item in enumerate(self.inner.generate(prompts, sampling)):
                if number == 1 and len(batches) in (2, 5):  # in the middle of the second and the fourth batch
                    raise ConnectionResetError("the engine's process is gone")
                yield item

    change_engine(monkeypatch, Dying)
    _, callback = go(tiny_recipe(), tmp_path / "out")
    assert sum("the rollout engine died" in note for note in callback.notes) == 2
    same_run(tmp_path / "straight", tmp_path / "out")


def test_an_engine_that_stays_dead_stops_the_run_with_every_finished_step_saved(
    go, same_run, tiny_recipe, tmp_path, monkeypatch
):
    recipe = tiny_recipe(evaluation={"when": []}, output={"checkpoint_every": 0})
    go(recipe, tmp_path / "straight")
    batches = []

    class Dead(Wrapped):
        def generate(self, prompts, sampling):
            batches.append(1)
            if len(batches) >= 4:
                raise RuntimeError("CUDA error: device-side assert")
            return self.inner.generate(prompts, sampling)

    with monkeypatch.context() as patch:
        change_engine(patch, Dead)
        with pytest.raises(PrerlkitError, match="died twice in a row"):
            go(recipe, tmp_path / "out")
    _, callback = go(recipe, tmp_path / "out", existing="resume")
    assert [record.step for record in callback.records] == [4], "three steps were done; none may be repeated"
    same_run(tmp_path / "straight", tmp_path / "out")


@pytest.mark.parametrize("full_at", ["metrics.jsonl", "samples.jsonl", "optimizer.safetensors"])
def test_a_full_disk(go, same_run, lines, tiny_recipe, tmp_path, monkeypatch, full_at):
    """Half of what is written lands on the disk: it never stays under its final name, and the run goes on later."""
    recipe = tiny_recipe(output={"checkpoint_every": 1})
    go(recipe, tmp_path / "straight")
    from prerlkit.runs import checkpoint, jsonl

    written, real_append, real_save = [], jsonl.append_text, checkpoint.save_file
    full = OSError(errno.ENOSPC, "No space left on device")

    def append(path, text):
        written.append(path.name)
        if path.name == full_at and written.count(full_at) == 3:
            monkeypatch.setattr(os, "fsync", failing)
        real_append(path, text)

    def failing(handle):
        raise full

    def save_file(tensors, path):
        written.append(path.name)
        if path.name == full_at and written.count(full_at) == 3:
            path.write_bytes(b"half")
            raise full
        real_save(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(jsonl, "append_text", append)
        patch.setattr(checkpoint, "save_file", save_file)
        real_fsync = os.fsync
        with pytest.raises(OSError, match="No space left"):
            go(recipe, tmp_path / "out")
        monkeypatch.setattr(os, "fsync", real_fsync)
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert all(line["step"] <= 3 for line in lines(tmp_path / "out" / file))  # and each line is whole
    _, callback = go(recipe, tmp_path / "out", existing="resume")
    assert callback.records[0].step == 3
    same_run(tmp_path / "straight", tmp_path / "out")


ODD = {
    "lone surrogate": Completion((5, 256), "\udce9\udcff", (-1.0, -1.0), False),
    "100k characters": Completion((5, 256), "x" * 100_000, (-1.0, -1.0), False),
    "end token only": Completion((256,), "", (-0.5,), False),
    "nothing": Completion((), "", (), True),
}


@pytest.mark.parametrize("objective", ["grpo", "nsr-prerl", "dr-grpo", "gspo"])
def test_odd_completions_are_data(go, lines, tiny_recipe, tmp_path, monkeypatch, objective):
    """Invalid UTF-8, 100,000 characters, the end token alone, and no token at all, in every batch."""

    class Odd(Wrapped):
        def generate(self, prompts, sampling):
            odd = list(ODD.values())
            for i, s, completion in self.inner.generate(prompts, sampling):
                yield i, s, odd[s] if s < len(odd) else completion

    change_engine(monkeypatch, Odd)
    recipe = tiny_recipe(
        rollout={"group_size": 8, "prompts_per_step": 2, "max_prompt_tokens": 200, "max_new_tokens": 3},
        verifiers=[{"name": "regex", "settings": {"must_match": ["[0-9A-Zx]"]}}],
    )
    recipe["stages"] = [{"name": "rl", "objective": objective, "steps": 2, "learning_rate": 1e-2}]
    summary, callback = go(recipe, tmp_path / "out")
    assert summary.exit_reason == "completed"
    assert all(r.metrics["optim/nonfinite"] == 0 and r.metrics["sample/unjudged"] == 0 for r in callback.records)
    assert sum(r.metrics["tokens/trained"] for r in callback.records) > 0
    written = lines(tmp_path / "out" / "samples.jsonl")[0]["completions"]
    assert [c["text"] for c in written[:4]] == [c.text for c in ODD.values()]


def test_a_gradient_that_is_not_finite_is_skipped_counted_and_ends_the_run_at_the_limit(
    go, tiny_recipe, tmp_path, monkeypatch
):
    from safetensors.torch import load_file

    from prerlkit.train import step as step_module

    real, calls = step_module.objective_loss, []

    def poisoned(objective, terms):
        parts = real(objective, terms)
        calls.append(1)
        if len(calls) > 1:
            parts.total.register_hook(lambda gradient: gradient * float("nan"))
        return parts

    monkeypatch.setattr(step_module, "objective_loss", poisoned)
    recipe = tiny_recipe(health={"nonfinite_limit": 3}, memory={"microbatch_tokens": 4096})
    recipe["stages"] = [{"name": "rl", "objective": "grpo", "steps": 30, "learning_rate": 1e-2}]
    recipe["verifiers"] = [{"name": "regex", "settings": {"must_match": ["[0-9A-Za-z]"]}}]
    with pytest.raises(PrerlkitError, match=r"nonfinite.*not finite in 3 steps in a row") as error:
        go(recipe, tmp_path / "out")
    assert "learning rate" in error.value.hint
    metrics = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [m["optim/nonfinite"] for m in metrics[-3:]] == [1, 1, 1]
    assert len(metrics) < 30
    last = max((tmp_path / "out" / "checkpoints").iterdir())
    state = load_file(last / "adapter.rl.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    assert any(bool(tensor.any()) for name, tensor in state.items() if "lora_B" in name), "the one good step is in it"


def test_a_clock_that_goes_backwards(go, same_run, lines, tiny_recipe, tmp_path, monkeypatch):
    go(tiny_recipe(), tmp_path / "straight")
    hours = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    go(tiny_recipe(), tmp_path / "out", stop_after=2)
    summary, _ = go(tiny_recipe(), tmp_path / "out", existing="resume")
    assert 0 < summary.position.seconds < 600
    for line in lines(tmp_path / "out" / "metrics.jsonl"):
        assert all(0 <= value < 600 for key, value in line.items() if key.startswith("time/"))
    monkeypatch.undo()
    same_run(tmp_path / "straight", tmp_path / "out")


def test_a_data_source_that_goes_away_during_the_run(go, tiny_recipe, tmp_path):
    """Rows are read once; a run that goes on later says what is missing, and can when it is back."""
    path = tmp_path / "rows.jsonl"
    text = "".join(json.dumps({"question": f"q{i}", "answer": "1"}) + "\n" for i in range(9))
    path.write_text(text)
    data = {"train": {"kind": "file", "path": str(path)}, "eval": {"kind": "held_out", "rows": 2}}

    class Deleting(SilentCallback):
        def on_step_end(self, record, done, steps):
            path.unlink(missing_ok=True)

    summary, _ = go(tiny_recipe(data=data), tmp_path / "out", listener=Deleting())
    assert summary.exit_reason == "completed"
    path.write_text(text)
    go(tiny_recipe(data=data), tmp_path / "stopped", stop_after=1)
    path.unlink()
    with pytest.raises(PrerlkitError, match="no such file"):
        go(tiny_recipe(data=data), tmp_path / "stopped", existing="resume")
    path.write_text(text)
    summary, _ = go(tiny_recipe(data=data), tmp_path / "stopped", existing="resume")
    assert summary.exit_reason == "completed"


NOSY = """
import os
from prerlkit.verify import Verdict, Verifier

class Nosy(Verifier):
    name = "nosy"
    def judge(self, sample):
        return Verdict.of(len(sample.completion) > 2, "environment " + repr(dict(os.environ)))
"""
SECRETS = {
    "HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWx",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCY",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "OPENAI_API_KEY": "sk-proj-abcdefghijkl",
    "PASSWORD": "correct horse battery",
}


def test_secrets_reach_no_log_no_folder_and_no_verifier(tiny_recipe, tmp_path, monkeypatch):
    """A verifier that tells its environment, and a failure that quotes every secret there is."""
    from ruamel.yaml import YAML
    from typer.testing import CliRunner

    from prerlkit.cli.app import app

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "nosy.py").write_text(NOSY)
    recipe = tmp_path / "tiny.yaml"
    with recipe.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tiny_recipe(verifiers=[{"name": "nosy"}]), file)
    said = ""
    done = CliRunner().invoke(app, ["run", str(recipe), "-o", str(tmp_path / "out"), "--trust"])
    assert done.exit_code == 0, done.stderr
    said += done.stdout + done.stderr

    quoted = f"401 for https://someone:{SECRETS['PASSWORD'].replace(' ', '')}@hub/ with {SECRETS}"

    class Failing(Wrapped):
        def generate(self, prompts, sampling):
            raise OSError(quoted)

    change_engine(monkeypatch, Failing)
    for option in ([], ["--verbose"]):
        done = CliRunner().invoke(
            app, ["run", str(recipe), "-o", str(tmp_path / "failed"), "--overwrite", "--trust", *option]
        )
        assert done.exit_code == 1
        said += done.stdout + done.stderr
    assert "401 for https://[hidden]@hub/" in said
    summary = (tmp_path / "failed" / "summary.json").read_text()
    assert "401 for" in summary
    files = [path for name in ("out", "failed") for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert len(files) > 15
    assert "environment {" in (tmp_path / "out" / "samples.jsonl").read_text()  # the nosy verifier did tell
    for value in SECRETS.values():
        assert value not in said
        assert [path for path in files if value.encode() in path.read_bytes()] == []
