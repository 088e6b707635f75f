"""The fused LoRA layer computes PEFT's function and gradients, and leaves to PEFT what it can't."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners import lora
from torch import nn

from prerlkit.policy.lora import compute_in_base_dtype
from prerlkit.policy.lora_linear import LoraLinear


def adapted(adapters: int = 1, *, bias: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """One linear layer with adapters whose factors are random; the last one trains."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(12, 20, bias=bias)).requires_grad_(False)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["0"], lora_dropout=dropout)
    model = get_peft_model(base, config, adapter_name="a0")
    for index in range(1, adapters):
        model.add_adapter(f"a{index}", config)
    model.base_model.set_adapter([f"a{index}" for index in range(adapters)])
    for index in range(adapters):
        compute_in_base_dtype(base, f"a{index}")
    for name, parameter in base.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(parameter)
            parameter.requires_grad_(f".a{adapters - 1}." in name)
    return base


def outcome(base: nn.Sequential, shape: tuple[int, ...] = (2, 3)) -> list[torch.Tensor]:
    """Output, and the gradients of the input and of each trainable factor."""
    torch.manual_seed(1)
    x = torch.randn(*shape, 12, requires_grad=True)
    out = base(x)
    wanted = [x, *(p for p in base.parameters() if p.requires_grad)]
    return [out.detach(), *torch.autograd.grad((out * torch.randn(out.shape)).sum(), wanted)]


def by_peft(base: nn.Sequential) -> nn.Sequential:
    base[0].__class__ = lora.Linear
    return base


@pytest.mark.parametrize("shape", [(5,), (2, 3), (0,), (2, 0), ()])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("adapters", [1, 2])
def test_values_and_gradients_are_pefts(adapters, bias, shape):
    base = adapted(adapters, bias=bias)
    assert type(base[0]) is LoraLinear
    ours = outcome(base, shape)
    assert len(ours) == 4  # output, input, A, B
    for got, expected in zip(ours, outcome(by_peft(base), shape), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_the_layer_keeps_no_tensor_of_its_outputs_size():
    base, sizes = adapted(), []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        base(torch.randn(7, 12, requires_grad=True))
    assert (7, 12) in sizes
    assert (7, 4) in sizes
    assert (7, 20) not in sizes


def merge(base: nn.Sequential) -> None:
    base[0].merge()


def disable(base: nn.Sequential) -> None:
    base[0].enable_adapters(False)


def bring_the_weight(base: nn.Sequential) -> None:
    def fetch(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        module.weight.data.fill_(2.0)

    base[0].base_layer.register_forward_pre_hook(fetch)


def double_the_output(base: nn.Sequential) -> None:
    base[0].base_layer.register_forward_hook(lambda module, args, out: out * 2)


def double_a_factors_output(base: nn.Sequential) -> None:
    base[0].lora_B["a0"].register_forward_hook(lambda module, args, out: out * 2)


def replace_the_forward(base: nn.Sequential) -> None:
    inner = base[0].base_layer
    whole = inner.forward
    inner.forward = lambda x: whole(x) * 2


@pytest.mark.parametrize(
    "change",
    [merge, disable, bring_the_weight, double_the_output, double_a_factors_output, replace_the_forward],
)
def test_what_changes_the_layers_function_is_left_to_peft(change):
    base = adapted()
    change(base)
    ours = base(torch.ones(3, 12))
    assert torch.equal(ours, by_peft(base)(torch.ones(3, 12)))


def test_dropout_of_an_adapter_acts_in_training_alone():
    base = adapted(dropout=0.5)
    x = torch.randn(64, 12)
    base.eval()
    still = base(x)
    assert torch.equal(still, base(x))
    base.train()
    assert not torch.allclose(base(x), still)


def test_autocast_is_left_to_peft():
    base, x = adapted(), torch.randn(3, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = base(x)
        assert torch.equal(ours, by_peft(base)(x))


def test_a_layer_on_the_meta_device_has_its_shapes():
    base = adapted().to("meta")
    assert base(torch.ones(2, 3, 12, device="meta")).shape == (2, 3, 20)


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_a_model_may_change_the_output_in_place(shape):
    """Llama 4 adds its experts so, Gemma 3n scales its per-layer inputs."""

    def grads(base: nn.Sequential) -> list[torch.Tensor]:
        torch.manual_seed(1)
        x = torch.randn(*shape, 12, requires_grad=True)
        out = base(x)
        out *= 3.0
        out.add_(1.0)
        return list(torch.autograd.grad(out.pow(2).sum(), [x, *(p for p in base.parameters() if p.requires_grad)]))

    base = adapted()
    for got, expected in zip(grads(base), grads(by_peft(base)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
