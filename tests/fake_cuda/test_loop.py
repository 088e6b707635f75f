"""The loop on the simulated device: both spaces, reincarnations, quantizations, optimizers, resume, vLLM."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from prerlkit.recipe.schema import Recipe
from prerlkit.rollout import vllm_local
from prerlkit.rollout.vllm import Sampled
from prerlkit.train.callbacks import SilentCallback, StopSignal
from prerlkit.train.run import run


class Callback(SilentCallback):
    """Keeps messages and records; stops after step `after`."""

    def __init__(self, stop, after=None):
        self.notes, self.records, self._stop, self._after = [], [], stop, after

    def on_message(self, text):
        self.notes.append(text)

    def on_step_end(self, record, *_):
        self.records.append(record)
        if record.step == self._after:
            self._stop.request()


@pytest.fixture
def go(device, tiny_recipe):
    """Run the tiny recipe, with changes, in bfloat16 on the device."""

    def start(folder, *, after=None, existing="refuse", **changes):
        data = tiny_recipe(**{"evaluation": {"prompts": 2, "when": ["after"]}, **changes})
        data["model"] = {"id": model, "dtype": "bfloat16", "device": "cuda", **changes.get("model", {})}
        stop = StopSignal()
        callback = Callback(stop, after)
        recipe = Recipe.model_validate(data)
        summary = run(recipe, folder, recipe_folder=None, callback=callback, stop=stop, existing=existing)
        return summary, callback

    model = tiny_recipe()["model"]["id"]
    return start


def stages(**changes):
    warmup = {"name": "warmup", "objective": "nsr-prerl", "steps": 1, "learning_rate": 1e-2}
    return [warmup, {"name": "rl", "objective": "grpo", "steps": 1, "learning_rate": 1e-2, **changes}]


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": stages()},
        {"stages": stages(reincarnation="merge")},
        {"stages": stages(reincarnation="continue")},
        {"stages": stages(), "memory": {"gradient_checkpointing": True, "microbatch_tokens": 64, "logits_chunk": 16}},
        {"stages": stages(), "optimizer": {"name": "adamw_8bit"}, "adapter": {"rank": 64, "alpha": 64}},
        {"stages": stages(), "optimizer": {"updates_per_rollout": 2}},
        {"stages": stages(reincarnation="merge"), "model": {"quantization": "nf4"}},
        {"stages": stages(), "model": {"quantization": "int8"}},
    ],
    ids=["stack", "merge", "continue", "checkpointing", "adamw_8bit", "two-updates", "nf4-merge", "int8"],
)
def test_a_run_of_two_stages(go, tmp_path, changes):
    summary, callback = go(tmp_path / "run", **changes)
    assert summary.exit_reason == "completed"
    assert [record.step for record in callback.records] == [1, 2]
    assert any(record.metrics["optim/grad_norm"] > 0 for record in callback.records)
    assert summary.peak_memory_bytes > 0


def test_nf4_has_importance_weights_and_16_bit_has_none(go, tmp_path):
    for quantization, weighted in (("none", False), ("nf4", True)):
        _, callback = go(tmp_path / quantization, stages=stages(), model={"quantization": quantization})
        assert any(record.metrics["importance/mismatch"] > 0 for record in callback.records) == weighted


def test_a_run_that_was_stopped_resumes_to_the_same_bytes(go, tmp_path):
    go(tmp_path / "whole")
    stopped, _ = go(tmp_path / "parts", after=3)
    assert stopped.exit_reason == "stopped"
    resumed, _ = go(tmp_path / "parts", existing="resume")
    assert resumed.exit_reason == "completed"
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


class StandInVllm:
    """Answers as `LocalVllm` does, by a copy of the model on the CPU; keeps the order of the calls."""

    calls: list[str] = []  # noqa: RUF012 -- one engine at a time, looked at by the test

    def __init__(self, settings, folder):
        from transformers import AutoModelForCausalLM

        self.calls.append("start")
        self.settings = settings
        self._base = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.bfloat16)
        self._adapted = None

    def wake(self):
        self.calls.append("wake")

    def rest(self):
        self.calls.append("rest")

    def load(self, folder):
        from peft import PeftModel

        self.calls.append("load")
        if self._adapted is not None:
            self._base = self._adapted.unload()
        self._adapted = PeftModel.from_pretrained(self._base, str(folder))

    @torch.no_grad()
    def _logprobs(self, ids, adapter=True):
        if adapter or self._adapted is None:
            return (self._adapted or self._base)(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        with self._adapted.disable_adapter():
            return self._adapted(torch.tensor([ids])).logits[0].float().log_softmax(-1)

    def score(self, sequences, *, adapter):
        scored = [self._logprobs(ids, adapter)[:-1].gather(-1, torch.tensor(ids[1:])[:, None]) for ids in sequences]
        return {"the rollout engine": [one[:, 0].tolist() for one in scored]}

    def sample(self, requests, sampling, end_ids):
        for index, request in enumerate(requests):
            generator = torch.Generator().manual_seed(request.seed)
            ids, logprobs = list(request.token_ids), []
            while len(logprobs) < sampling.max_new_tokens and (not logprobs or ids[-1] not in end_ids):
                place = self._logprobs(ids)[-1]
                ids.append(int(torch.multinomial(place.exp(), 1, generator=generator)))
                logprobs.append(float(place[ids[-1]]))
            yield Sampled(index, tuple(ids[len(request.token_ids) :]), tuple(logprobs))

    def close(self):
        self.calls.append("close")


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_path_of_vllm_with_a_stand_in_for_its_client(go, tmp_path, monkeypatch, quantization):
    monkeypatch.setattr(StandInVllm, "calls", [])
    monkeypatch.setattr(vllm_local, "LocalVllm", StandInVllm)
    monkeypatch.setattr(vllm_local, "check_installed", lambda: None)
    monkeypatch.setenv("PRERLKIT_CACHE", str(tmp_path / "cache"))
    rollout = {"engine": "vllm", "group_size": 4, "prompts_per_step": 2, "max_prompt_tokens": 200, "max_new_tokens": 3}
    changes = {"stages": stages(), "rollout": rollout, "model": {"quantization": quantization}}
    summary, callback = go(tmp_path / "run", **changes)
    assert summary.exit_reason == "completed"
    assert all(record.metrics["canary/drift"] < 0.25 for record in callback.records)
    assert any(record.metrics["importance/mismatch"] > 0 for record in callback.records)
    calls = StandInVllm.calls
    assert calls[:4] == ["start", "wake", "load", "rest"]
    assert calls[-1] == "close"
    assert not list((tmp_path / "cache").glob("engine-*"))
