"""A merged model is the policy that was trained, or there is none: the proof, wrong merges, GGUF, bad input."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.publish import fold, proof, streamed
from prerlkit.publish import merge as merge_module
from prerlkit.publish.fold import Factors, folded
from prerlkit.publish.merge import merge

TOKENS = torch.tensor([list(b"What is 3 + 4? 7, I think.")])


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=TOKENS).logits.float()


def live_logits(run: Path, base: Path) -> torch.Tensor:
    """The stack as it was trained, through prerlkit's own adapters on transformers' model, in float32."""
    from prerlkit.policy.adapters import AdapterStack
    from prerlkit.policy.save import WEIGHTS
    from prerlkit.recipe.load import load

    stack = AdapterStack(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    for stage in load(str(run / "recipe.yaml")).recipe.stages:
        stack.restore(stage.name, stage.adapter, load_file(run / "adapters" / stage.name / WEIGHTS))
    return logits(stack.base.eval())


def test_the_merged_model_is_the_policy_and_not_the_base(finished, base_model):
    merged = merge(finished)
    assert merged.folder == finished / "merged"
    found = logits(AutoModelForCausalLM.from_pretrained(merged.folder, dtype=torch.float32))
    live = live_logits(finished, base_model)
    base = logits(AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32))
    assert (found - live).square().mean().sqrt() < merged.proof.bound
    assert (found - base).square().mean().sqrt() > 2 * merged.proof.rounding
    assert merged.proof.share == pytest.approx(1, abs=0.02)
    record = json.loads((merged.folder / "merge.json").read_text())
    assert record["proof"]["proven"]
    assert record["proof"]["error"] == merged.proof.error
    assert record["stages"] == ["warmup", "rl"]
    assert str(finished) not in (merged.folder / "merge.json").read_text()
    config = json.loads((merged.folder / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert all(t.dtype == torch.bfloat16 for t in load_file(merged.folder / "model.safetensors").values())
    tokenizer = AutoTokenizer.from_pretrained(merged.folder)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base_model).chat_template
    assert (merged.folder / "generation_config.json").read_bytes() == (
        base_model / "generation_config.json"
    ).read_bytes()


def test_each_weight_is_the_float32_sum_rounded_once(finished, base_model):
    merge(finished)
    found, base = load_file(finished / "merged" / "model.safetensors"), load_file(base_model / "model.safetensors")
    assert set(found) == set(base)
    name = "model.layers.1.mlp.down_proj"
    expected = base[f"{name}.weight"].float()
    for stage in ("warmup", "rl"):
        factors = load_file(finished / "adapters" / stage / "adapter_model.safetensors")
        key = f"base_model.model.{name}"
        expected = expected + 2.0 * factors[f"{key}.lora_B.weight"] @ factors[f"{key}.lora_A.weight"]  # alpha/r = 4/2
    torch.testing.assert_close(found[f"{name}.weight"], expected.bfloat16(), atol=0, rtol=2**-8)
    assert (found[f"{name}.weight"] == expected.bfloat16()).float().mean() > 0.999
    assert torch.equal(found["model.embed_tokens.weight"], base["model.embed_tokens.weight"])


def test_the_sum_by_hand_with_dora_too():
    weight, down, up = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0], [0.0]])
    torch.testing.assert_close(folded(weight, [Factors(down, up, 2.0)]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    with_norms = folded(weight, [Factors(down, up, 2.0, torch.tensor([10.0, 2.0]))])  # rows of norm 5 and 1
    torch.testing.assert_close(with_norms, torch.tensor([[6.0, 8.0], [0.0, 2.0]]))


WRONG = {
    "the scale is dropped": lambda weight, factors: folded(
        weight, [Factors(f.down, f.up, 1.0, f.magnitude) for f in factors]
    ),
    "the base comes back": lambda weight, factors: weight.float(),
    "the first adapter is counted twice": lambda weight, factors: folded(weight, [factors[0], *factors]),
    "the last adapter is forgotten": lambda weight, factors: folded(weight, factors[:-1]),
    "the scale is 3 % off": lambda weight, factors: folded(
        weight, [Factors(f.down, f.up, 1.03 * f.scale, f.magnitude) for f in factors]
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_merge_is_refused_and_leaves_nothing(finished, monkeypatch, what):
    before = sorted(finished.iterdir())
    monkeypatch.setattr(fold, "folded", WRONG[what])
    with pytest.raises(PrerlkitError, match="Refused, and nothing was written") as error:
        merge(finished)
    assert sorted(finished.iterdir()) == before
    if what == "the base comes back":
        assert "is its base" in error.value.message


@pytest.mark.parametrize("which", ["live", "merged", "base", "rounded", "noisy"])
def test_a_proof_by_logits_that_are_not_numbers_fails(which):
    torch.manual_seed(0)
    base = torch.randn(8, 20)
    live = base + 0.5 * torch.randn(8, 20)
    given = {"live": live, "merged": live, "base": base, "rounded": live, "noisy": live + 1e-3 * torch.randn(8, 20)}
    assert not proof.compare(dtype="bfloat16", **given).failure
    given[which] = given[which].clone()
    given[which][3, 3] = float("nan")
    assert "are not numbers" in proof.compare(dtype="bfloat16", **given).failure


def test_a_change_that_rounding_swallows_is_refused_in_16_bits_and_kept_in_32(finished, tmp_path):
    """What RL at small rates makes: bfloat16 has no room for it, and a merge would be the base."""
    (finished / "checksums.json").unlink()  # the adapters below are not those that the run wrote
    for stage in ("warmup", "rl"):
        file = finished / "adapters" / stage / "adapter_model.safetensors"
        save_file({k: v / 300 if "lora_B" in k else v for k, v in load_file(file).items()}, file)
    with pytest.raises(PrerlkitError, match="no more than rounding to bfloat16") as error:
        merge(finished)
    assert "--dtype float16" in error.value.hint
    assert merge(finished, tmp_path / "whole", dtype="float32").proof.share == pytest.approx(1, abs=0.01)


def test_a_dtype_that_is_too_coarse_is_told_from_a_wrong_merge(finished, tmp_path):
    """The merge itself is right: its dtype has no room for much of the change, and a finer one has."""
    (finished / "checksums.json").unlink()  # the adapters below are not those that the run wrote
    for stage in ("warmup", "rl"):
        file = finished / "adapters" / stage / "adapter_model.safetensors"
        save_file({k: v / 8 if "lora_B" in k else v for k, v in load_file(file).items()}, file)
    with pytest.raises(PrerlkitError, match=r"rounding to bfloat16 costs \d+ % of the trained change") as error:
        merge(finished)
    assert "--dtype float16" in error.value.hint
    fine = merge(finished, tmp_path / "fine", dtype="float16").proof
    assert fine.astray <= fine.edge < fine.lost < 0.1 * fine.effect


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_live_weights_are_what_peft_would_merge(make_family, make_model, tmp_path, family):
    """Two stacked adapters and DoRA's norms, asked of the layers, against PEFT's own merge."""
    from prerlkit.policy.adapters import AdapterStack
    from prerlkit.policy.weights import Weights
    from prerlkit.recipe.model import Adapter
    from prerlkit.runs.trained import Part

    model = make_model() if family == "llama" else make_family(family)
    model.save_pretrained(tmp_path)
    for dora in (False, True):
        stack = AdapterStack(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))
        parts = []
        for name in ("one",) if dora else ("one", "two"):
            settings = Adapter(rank=2, alpha=4, dora=dora)
            stack.fresh(name, settings, seed=0)
            torch.manual_seed(1)
            with torch.no_grad():
                for parameter in stack.trainable:
                    parameter.add_(0.1 * torch.rand(parameter.shape))
            parts.append(Part(name, settings, stack.state(name)))
        read = Weights(tmp_path)
        live = streamed.StreamedModel(tmp_path, parts=parts).live_weights()
        merged = stack.peft.merge_and_unload().state_dict()
        changed = 0
        for name in read.names:
            full = name if name in merged else f"transformer.{name}"
            torch.testing.assert_close(live(name), merged[full], atol=1e-5, rtol=1e-5)
            changed += not torch.equal(live(name), read(name))
        assert changed == 14 if family == "llama" else changed >= 4


def test_dtype_scale_and_shards(finished, tmp_path, base_model):
    half = merge(finished, tmp_path / "half", lora_scale=0.5, dtype="float16", shard_bytes=100_000)
    full = merge(finished, tmp_path / "full", dtype="float32")
    assert half.proof.effect < 0.75 * full.proof.effect
    shards = sorted(p.name for p in half.folder.glob("*.safetensors"))
    assert len(shards) >= 3
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    index = json.loads((half.folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    model = AutoModelForCausalLM.from_pretrained(half.folder, dtype="auto")
    assert model.dtype == torch.float16
    by_hand = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    for stage in ("warmup", "rl"):
        f = load_file(finished / "adapters" / stage / "adapter_model.safetensors")
        by_hand.model.layers[0].self_attn.q_proj.weight.data += f[f"{name}.lora_B.weight"] @ f[f"{name}.lora_A.weight"]
    torch.testing.assert_close(
        model.model.layers[0].self_attn.q_proj.weight.float(),
        by_hand.model.layers[0].self_attn.q_proj.weight,
        atol=1e-4,
        rtol=1e-3,
    )


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "qwen2"])
def test_other_architectures_merge_too(tmp_path, make_family, make_tokenizer, make_run, family):
    """Transposed weights with files that lack the model's prefix; capped logits; biases and sliding windows."""
    base = tmp_path / family
    make_family(family).save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    run = make_run(model={"id": str(base), "dtype": "float32", "device": "cpu"})
    assert merge(run).proof.share == pytest.approx(1, abs=0.01)


def test_a_dora_stage_merges(make_run):
    run = make_run(
        adapter={"rank": 2, "alpha": 4, "dora": True},
        stages=[{"name": "rl", "objective": "grpo", "steps": 3, "learning_rate": 2e-2}],
    )
    assert merge(run).proof.share == pytest.approx(1, abs=0.05)
    with pytest.raises(UsageError, match="no meaning for DoRA"):
        merge(run, lora_scale=0.5, overwrite=True)


def test_a_4_bit_run_is_merged_into_its_16_bit_base_and_the_difference_is_measured(make_run, base_model):
    model = {"id": str(base_model), "dtype": "bfloat16", "device": "cpu", "quantization": "nf4"}
    run = make_run(model=model)
    merged = merge(run)
    assert merged.four_bit is not None
    assert 0 < merged.four_bit.kl < 5
    assert merged.four_bit.difference > merged.proof.error
    config = json.loads((merged.folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert json.loads((merged.folder / "merge.json").read_text())["four_bit"]["kl"] == merged.four_bit.kl


def test_an_unfinished_run_offers_its_last_checkpoint(make_run):
    run = make_run(stop_after=3)
    with pytest.raises(UsageError, match="last checkpoint is of step 3 of 4") as error:
        merge(run)
    assert "--checkpoint" in error.value.hint
    assert f"`prerlkit resume {run}`" in error.value.hint
    merged = merge(run, checkpoint=True)
    record = json.loads((merged.folder / "merge.json").read_text())
    assert (record["steps"], record["complete"], record["stages"]) == (3, False, ["warmup", "rl"])


def test_a_missing_base_and_another_base(finished, base_model, make_model, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(base_model, moved)
    (finished / "checksums.json").unlink()  # nor is the recipe
    recipe = (finished / "recipe.yaml").read_text().replace(str(base_model), str(tmp_path / "gone"))
    (finished / "recipe.yaml").write_text(recipe)
    with pytest.raises(UsageError, match="there is no folder") as error:
        merge(finished)
    assert "--base" in error.value.hint
    assert merge(finished, base=str(moved)).proof.failure == ""
    make_model(seed=1).to(torch.bfloat16).save_pretrained(moved)
    with pytest.raises(PrerlkitError, match="their weights differ"):
        merge(finished, base=str(moved), overwrite=True)
    assert (finished / "merged" / "merge.json").is_file()  # the earlier merge is untouched


def test_a_full_disk_leaves_nothing(finished, monkeypatch):
    monkeypatch.setattr(merge_module, "save_file", _no_space)
    with pytest.raises(PrerlkitError, match="The disk is full; nothing was left"):
        merge(finished)
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(PrerlkitError, match=r"its disk has 0\.00 free"):
        merge(finished)
    assert not list(finished.glob("*merged*"))
    assert not list(finished.glob(".merged*"))


def _no_space(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_occupied_folder_is_not_touched(finished, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(UsageError, match="holds something else"):
        merge(finished, tmp_path / "photos", overwrite=True)
    with pytest.raises(UsageError, match="not a run folder"):
        merge(tmp_path / "photos")
    merge(finished)
    with pytest.raises(UsageError, match="--overwrite"):
        merge(finished)


def test_noise_is_what_rounding_does():
    """Rounding random weights to bfloat16 moves them as far, in the mean square, as `shaken` does."""
    weight = torch.randn(400, 400, generator=torch.Generator().manual_seed(0))
    shaken = proof.shaken(lambda name: weight, torch.bfloat16, lambda name: True)("w")
    rounding = (weight.bfloat16().float() - weight).square().mean()
    assert (shaken - weight).square().mean() == pytest.approx(rounding.item(), rel=0.05)
    assert torch.equal(shaken, proof.shaken(lambda name: weight, torch.bfloat16, lambda name: True)("w"))
    exact = weight.bfloat16()
    assert proof.shaken(lambda name: exact, torch.bfloat16, lambda name: False)("w") is exact


def test_streamed_logits_are_the_models_own_and_hold_one_layer_at_a_time(base_model):
    source = streamed.StreamedModel(base_model)
    model = source.empty()
    streamed.stream(model, dict(model.named_modules()), source.read.names, source.read)
    ours = streamed.logits(model, TOKENS, torch.ones_like(TOKENS))
    own = logits(AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32))
    torch.testing.assert_close(ours, own[0], atol=1e-4, rtol=0)
    assert sum(p.untyped_storage().nbytes() for p in model.parameters()) < 1000
