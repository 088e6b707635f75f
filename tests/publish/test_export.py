"""Exported adapters are the policy however they are loaded; a reduced one says what it lost."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.policy.identity import read_base
from prerlkit.publish import export as export_module
from prerlkit.publish.export import export, vllm_rank
from prerlkit.publish.reduce import reduced

TOKENS = torch.tensor([list(b"What is 3 + 4? 7, I think.")])


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=TOKENS).logits


def base_of(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def test_the_adapter_is_the_policy_by_peft_and_by_transformers(finished, base_model):
    done = export(finished, stages=True)
    assert [one.how for one in done.checks] == ["PEFT", "transformers"]
    assert all(one.error < 1e-3 * one.effect for one in done.checks)
    base = logits(base_of(base_model))
    by_peft = logits(PeftModel.from_pretrained(base_of(base_model), done.folder))
    plain = base_of(base_model)
    plain.load_adapter(str(done.folder))
    torch.testing.assert_close(logits(plain), by_peft, atol=1e-4, rtol=0)
    assert (by_peft - base).abs().max() > 0.01
    staged = PeftModel.from_pretrained(base_of(base_model), done.stages[0], adapter_name="warmup")
    staged.load_adapter(done.stages[1], adapter_name="rl")
    staged.base_model.set_adapter(["warmup", "rl"])
    torch.testing.assert_close(logits(staged), by_peft, atol=1e-4, rtol=0)
    recorded = read_base(done.folder)
    assert recorded is not None
    assert recorded["fingerprint"] == json.loads((finished / "environment.json").read_text())["model"]["fingerprint"]


def test_a_rank_reduction_is_the_nearest_and_its_error_is_right():
    torch.manual_seed(0)
    key = "base_model.model.layer"
    tensors = {f"{key}.lora_A.weight": torch.randn(6, 20), f"{key}.lora_B.weight": torch.randn(10, 6)}
    config = LoraConfig(r=6, lora_alpha=12, target_modules=["layer"])
    smaller, made, lost = reduced(config, tensors, 2)
    whole = 2.0 * tensors[f"{key}.lora_B.weight"] @ tensors[f"{key}.lora_A.weight"]
    left, values, right = torch.linalg.svd(whole)
    nearest = left[:, :2] @ torch.diag(values[:2]) @ right[:2]
    ours = made[f"{key}.lora_B.weight"] @ made[f"{key}.lora_A.weight"]  # alpha = r: scale 1
    torch.testing.assert_close(ours, nearest, atol=1e-4, rtol=1e-4)
    assert smaller.r == smaller.lora_alpha == 2
    assert lost.error == pytest.approx(((whole - nearest).norm() / whole.norm()).item(), rel=1e-4)
    assert lost.worst_module == "layer"
    with pytest.raises(UsageError, match="not below the adapter's own rank"):
        reduced(config, tensors, 6)


def test_a_reduced_export_says_what_it_lost(finished):
    done = export(finished, rank=1)
    assert done.rank == 1
    assert done.reduction is not None
    assert 0 < done.reduction.error < 1
    assert json.loads((done.folder / "export.json").read_text())["reduction"]["error"] == done.reduction.error
    assert load_file(done.folder / "adapter_model.safetensors")[
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    ].shape == (1, 64)


def test_an_adapter_that_is_not_the_policy_is_refused(finished, monkeypatch):
    def forgets_a_scale(tensors, path, **options):
        save_file({k: v / 2 if "lora_B" in k else v for k, v in tensors.items()}, path, **options)

    monkeypatch.setattr(export_module, "save_file", forgets_a_scale)
    with pytest.raises(PrerlkitError, match="Refused, and nothing was written: loaded by PEFT"):
        export(finished)
    assert not (finished / "export").exists()


@pytest.mark.parametrize("rank", [None, 1])
def test_an_adapter_that_holds_nan_is_refused(finished, rank):
    weights = next((finished / "adapters").rglob("adapter_model.safetensors"))
    tensors = load_file(weights)
    first = min(key for key in tensors if "lora_B" in key)
    tensors[first][0, 0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(PrerlkitError, match="holds NaN or infinite numbers"):
        export(finished, rank=rank)
    assert not (finished / "export").exists()


def test_logits_that_are_not_numbers_fail_the_comparison(finished, monkeypatch):
    """An error of NaN is within no bound, whatever made it NaN."""
    monkeypatch.setattr(export_module, "rms", lambda values: float("nan"))
    with pytest.raises(PrerlkitError, match="loaded by PEFT, the adapter is nan from the policy"):
        export(finished)


def test_a_way_of_loading_that_loses_dora_is_named(make_run):
    """transformers 5.16 to 5.24: load_adapter leaves DoRA's norms out and says so only in a log."""
    run = make_run(
        adapter={"rank": 2, "alpha": 4, "dora": True},
        stages=[{"name": "rl", "objective": "grpo", "steps": 3, "learning_rate": 2e-2}],
    )
    peft, plain = export(run).checks
    assert peft.error < 1e-3 * peft.effect
    assert (plain.error > peft.effect) == bool(plain.note)
    with pytest.raises(UsageError, match="DoRA adapter can't be reduced"):
        export(run, rank=1, overwrite=True)


def test_ranks_that_vllm_takes():
    assert [vllm_rank(rank) for rank in (1, 8, 9, 48, 256, 300, 512, 513)] == [8, 8, 16, 64, 256, 320, 512, None]


def test_a_card_serves_the_adapter_whose_names_vllm_knows():
    from types import SimpleNamespace

    from prerlkit.publish.card import _load

    facts = SimpleNamespace(kind="adapter", repo="me/sums", base="Qwen/Qwen3.5-4B", record={"rank": 16, "vllm": ""})
    assert "--lora-modules policy=me/sums\n" in _load(facts)
    facts.record["vllm"] = export_module.VLLM
    assert "hf download me/sums --local-dir sums\nvllm serve Qwen/Qwen3.5-4B " in _load(facts)
    assert "--lora-modules policy=sums/vllm\n" in _load(facts)
