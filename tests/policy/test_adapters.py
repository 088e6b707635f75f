"""The stack of adapters: what counts, what is frozen, what a merge does, and that one file equals all of them."""

from __future__ import annotations

import json

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from safetensors.torch import load_file

from prerlkit.errors import UsageError
from prerlkit.policy import save
from prerlkit.policy.base import quantized_layers
from prerlkit.policy.policy import load_policy
from prerlkit.recipe.model import Adapter, Model

TOKENS = torch.tensor([list(b"the quick brown fox")])


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def randomize(policy, seed: int) -> None:
    """Factors as after some training: non-zero, so that the adapter changes every logit."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.adapters.trainable:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def stack_of_two(policy, second: Adapter | None = None) -> None:
    policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
    randomize(policy, 1)
    policy.adapters.fresh("b", second or Adapter(rank=5, alpha=5, rslora=True), seed=2)
    randomize(policy, 2)


def test_a_fresh_adapter_is_the_identity_and_decided_by_its_seed(tiny_policy):
    before = logits(tiny_policy.base)
    tiny_policy.adapters.fresh("a", Adapter(rank=3), seed=1)
    assert torch.equal(logits(tiny_policy.base), before)
    first = tiny_policy.adapters.state("a")
    assert any(tensor.abs().max() > 0 for name, tensor in first.items() if "lora_A" in name)
    assert all(tensor.abs().max() == 0 for name, tensor in first.items() if "lora_B" in name)
    tiny_policy.adapters.fresh("b", Adapter(rank=3), seed=1)
    assert all(torch.equal(tensor, first[name]) for name, tensor in tiny_policy.adapters.state("b").items())


def test_in_a_stack_only_the_top_adapter_is_trainable(tiny_policy):
    stack_of_two(tiny_policy)
    names = {name for name, p in tiny_policy.base.named_parameters() if p.requires_grad}
    assert names
    assert all(".stage1." in name for name in names)
    tiny_policy.base(input_ids=TOKENS).logits.sum().backward()
    assert all(p.grad is not None for p in tiny_policy.adapters.trainable)
    assert all(p.grad is None for p in tiny_policy.base.parameters() if not p.requires_grad)


def test_the_reference_is_everything_below_the_trainable_adapter(tiny_policy):
    base = logits(tiny_policy.base)
    tiny_policy.adapters.fresh("a", Adapter(rank=3), seed=1)
    randomize(tiny_policy, 1)
    one = logits(tiny_policy.base)
    with tiny_policy.adapters.reference():
        assert torch.equal(logits(tiny_policy.base), base)
    tiny_policy.adapters.fresh("b", Adapter(rank=3), seed=2)
    randomize(tiny_policy, 2)
    two = logits(tiny_policy.base)
    with tiny_policy.adapters.reference():
        assert torch.equal(logits(tiny_policy.base), one)
    assert torch.equal(logits(tiny_policy.base), two)
    assert not torch.allclose(two, one, atol=0.1)


@pytest.mark.parametrize("changes", [{}, {"rslora": True}, {"targets": ("q_proj", "down_proj")}, {"init": "gaussian"}])
def test_one_peft_adapter_equals_the_stack(tiny_policy, tiny_model, tmp_path, changes):
    stack_of_two(tiny_policy, Adapter(rank=5, alpha=7, **changes))
    live = logits(tiny_policy.base)
    save.save_policy(tiny_policy.adapters, tmp_path / "adapter", str(tiny_model))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (8, str(tiny_model))
    loaded = PeftModel.from_pretrained(plain(tiny_model), tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), live, atol=1e-4, rtol=0)


def test_each_stage_is_saved_as_trained(tiny_policy, tiny_model, tmp_path):
    tiny_policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
    randomize(tiny_policy, 1)
    live = logits(tiny_policy.base)
    tiny_policy.adapters.fresh("b", Adapter(rank=2), seed=2)
    randomize(tiny_policy, 2)
    save.save_stage(tiny_policy.adapters, "a", tmp_path / "a", str(tiny_model))
    loaded = PeftModel.from_pretrained(plain(tiny_model), tmp_path / "a")
    torch.testing.assert_close(logits(loaded), live, atol=1e-5, rtol=0)


def test_an_adapter_that_is_not_the_stack_is_not_written(tiny_policy, tiny_model, tmp_path, monkeypatch):
    """As when a scale is dropped, or an adapter counted twice."""
    stack_of_two(tiny_policy)
    monkeypatch.setattr(save, "scale_of", lambda config: 1.0)
    with pytest.raises(Exception, match="differs from the stack"):
        save.save_policy(tiny_policy.adapters, tmp_path / "adapter", str(tiny_model))
    assert list(tmp_path.iterdir()) == []


def test_a_merge_keeps_the_policy_and_takes_the_adapter_out(tiny_policy, tiny_model, tmp_path):
    tiny_policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
    randomize(tiny_policy, 1)
    live = logits(tiny_policy.base)
    lost = tiny_policy.adapters.merge_top()
    assert lost < 1e-5  # float32 weights
    torch.testing.assert_close(logits(tiny_policy.base), live, atol=1e-4, rtol=0)
    assert not any("stage0" in name for name, _ in tiny_policy.base.named_parameters())
    tiny_policy.adapters.fresh("b", Adapter(rank=5), seed=2)
    randomize(tiny_policy, 2)
    both = logits(tiny_policy.base)
    assert not torch.allclose(both, live, atol=0.1)
    save.save_policy(tiny_policy.adapters, tmp_path / "adapter", str(tiny_model))
    loaded = PeftModel.from_pretrained(plain(tiny_model), tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), both, atol=1e-4, rtol=0)


def test_a_merge_into_bfloat16_says_what_rounding_took(tiny_model):
    policy = load(tiny_model, dtype="bfloat16")
    policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
    randomize(policy, 1)
    lost = policy.adapters.merge_top()
    assert 1e-5 < lost < 0.2


def test_float32_factors_on_a_bfloat16_base_keep_small_updates_and_agree_with_peft(tiny_model, tmp_path):
    policy = load(tiny_model, dtype="bfloat16")
    policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
    randomize(policy, 1)
    live = logits(policy.base).float()
    policy.base(input_ids=TOKENS).logits.float().square().mean().backward()
    assert {p.dtype for p in policy.adapters.trainable} == {torch.float32}
    assert {p.grad.dtype for p in policy.adapters.trainable} == {torch.float32}
    save.save_policy(policy.adapters, tmp_path / "adapter", str(tiny_model))
    # PEFT makes the product in float32. Against all of it in float32, ours is no further off than theirs: the base's
    # own bfloat16 is what both are off by.
    exact, theirs = (
        logits(PeftModel.from_pretrained(plain(tiny_model).bfloat16().to(dtype), tmp_path / "adapter")).float()
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert 0 < (live - exact).norm() < 1.5 * (theirs - exact).norm() < 0.1 * exact.norm()


def test_continue_trains_the_same_adapter_on(tiny_policy):
    tiny_policy.adapters.fresh("a", Adapter(rank=3), seed=1)
    randomize(tiny_policy, 1)
    before, parameters = logits(tiny_policy.base), tiny_policy.adapters.trainable
    tiny_policy.adapters.continue_top("b")
    assert torch.equal(logits(tiny_policy.base), before)
    assert all(a is b for a, b in zip(tiny_policy.adapters.trainable, parameters, strict=True))
    assert [layer.name for layer in tiny_policy.adapters.layers] == ["b"]


def test_a_stack_on_nf4_is_exact_and_a_merge_says_what_it_cost(tiny_model, tmp_path):
    policy = load(tiny_model, dtype="float32", quantization="nf4")
    assert len(quantized_layers(policy.base)) == 14  # q k v o gate up down, twice; the head is left alone
    stack_of_two(policy)
    live = logits(policy.base)
    save.save_policy(policy.adapters, tmp_path / "adapter", str(tiny_model))
    again = load(tiny_model, dtype="float32", quantization="nf4")
    loaded = PeftModel.from_pretrained(again.base, tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), live, atol=1e-4, rtol=0)
    assert policy.adapters.merge_top() > 0.01  # 4 bits can't hold it
    difference = (logits(policy.base) - live).abs().max()
    assert difference > 1e-3  # which is why stack is the default


def test_on_nf4_the_gradient_after_a_rollout_is_that_of_the_dequantized_weights(tiny_model):
    """bitsandbytes repacks 4-bit weights in eval mode on some CPUs, after which nothing flows back through them."""
    quantized, dense = load(tiny_model, dtype="float32", quantization="nf4"), load(tiny_model, dtype="float32")
    for name in quantized_layers(quantized.base):
        module = quantized.base.get_submodule(name)
        weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
        dense.base.get_submodule(name).weight.data = weight.float()
    gradients = []
    for policy in (quantized, dense):
        policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
        randomize(policy, 1)
        logits(policy.base)  # in eval mode, as a rollout
        policy.base.train()
        policy.base(input_ids=TOKENS).logits.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.adapters.trainable]))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_state_goes_out_and_in(tiny_policy):
    stack_of_two(tiny_policy)
    before, kept = logits(tiny_policy.base), tiny_policy.adapters.state("b")
    randomize(tiny_policy, 9)
    assert not torch.equal(logits(tiny_policy.base), before)
    tiny_policy.adapters.load_state("b", kept)
    assert torch.equal(logits(tiny_policy.base), before)
    with pytest.raises(ValueError, match="names differ"):
        tiny_policy.adapters.load_state("b", {"x": torch.zeros(1)})


def test_the_saved_weights_are_float32_safetensors(tiny_policy, tiny_model, tmp_path):
    stack_of_two(tiny_policy)
    save.save_policy(tiny_policy.adapters, tmp_path / "adapter", str(tiny_model))
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert len(tensors) == 28


def test_a_target_that_matches_no_layer_names_the_nearest(tiny_policy):
    with pytest.raises(UsageError, match='"q_prj" matches no linear layer of this model; did you mean "q_proj"'):
        tiny_policy.adapters.fresh("a", Adapter(targets=("q_prj",)), seed=0)


def plain(folder):
    """The base as a user of transformers would load it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def load(folder, **settings):
    from prerlkit.policy.tokens import read_tokens

    model = Model(id=str(folder), device="cpu", **settings)
    return load_policy(str(folder), model, read_tokens(str(folder), model))
