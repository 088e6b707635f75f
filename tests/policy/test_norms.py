"""RMS norms with a backward of their own: the same bits forward, the same gradient, only where the form is Llama's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from prerlkit.policy.norms import OwnNorm, use_own_norms


class PlainlyNamedRMSNorm(LlamaRMSNorm):
    """Of Llama's attributes, and another function."""

    def forward(self, hidden_states):
        return super().forward(hidden_states) + 1


def norm(dtype: torch.dtype = torch.float32, kind: type[nn.Module] = LlamaRMSNorm) -> nn.Module:
    torch.manual_seed(0)
    made = kind(24, eps=1e-5)
    nn.init.normal_(made.weight)
    return made.to(dtype).requires_grad_(False)


def outcome(module: nn.Module, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    x = torch.randn(2, 9, 24).to(dtype).requires_grad_()
    out = module(x)
    (gradient,) = torch.autograd.grad(out, x, torch.randn(out.shape).to(dtype))
    return out.detach(), gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_stay_and_the_gradient_is_autograds(dtype):
    plain, changed = norm(dtype), norm(dtype)
    use_own_norms(changed)
    (expected, expected_gradient), (out, gradient) = outcome(plain, dtype), outcome(changed, dtype)
    assert torch.equal(out, expected)
    torch.testing.assert_close(
        gradient, expected_gradient, **({} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6})
    )
    assert changed(torch.ones(3, 24, dtype=dtype, requires_grad=True)).grad_fn.name() == "_RMSNormBackward"


@pytest.mark.parametrize("kind", [Gemma2RMSNorm, PlainlyNamedRMSNorm, nn.LayerNorm])
def test_norms_of_another_form_are_left_alone(kind):
    module = norm(kind=kind)
    use_own_norms(module)
    assert not isinstance(module, OwnNorm)


def test_a_norm_that_trains_gets_its_gradient():
    module = norm()
    use_own_norms(module)
    module.weight.requires_grad_(True)
    module(torch.randn(3, 24, requires_grad=True)).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.abs().max() > 0


def test_a_norm_on_the_meta_device_is_recognized():
    module = norm().to("meta")
    use_own_norms(module)
    assert isinstance(module, OwnNorm)


def test_a_base_that_is_loaded_once_may_be_prepared_twice():
    module = norm()
    use_own_norms(module)
    kind = type(module)
    use_own_norms(module)
    assert type(module) is kind
