"""Frozen linear layers on a CPU: the plain layer's function and gradient, whatever the weight went through."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from prerlkit import onednn
from prerlkit.policy import frozen_linear
from prerlkit.policy.frozen_linear import FrozenLinear, gets_copies, input_gradient, product, use_own_linears
from prerlkit.policy.lora import compute_in_base_dtype

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


def pair(inputs=48, outputs=40, *, bias=True, dtype=torch.float32):
    """A plain layer, and the same one as a FrozenLinear."""
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(False)
    own = copy.deepcopy(plain)
    use_own_linears(own)
    assert type(own) is FrozenLinear
    return plain, own


def close(found, expected):
    exact = expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 48), (64, 48), (3, 5, 48), (300, 48), (0, 48), (48,)])
def test_it_computes_the_layers_function(shape, bias, dtype):
    plain, own = pair(bias=bias, dtype=dtype)
    x = torch.randn(shape, dtype=dtype)
    close(own(x), plain(x))
    close(product(own, x), plain(x))


def test_inputs_need_not_be_contiguous():
    plain, own = pair()
    x = torch.randn(48, 7).t()[:, None]
    close(own(x), plain(x))
    assert own(x).is_contiguous()  # models make views of it


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_gradient_is_the_layers(dtype):
    plain, own = pair(dtype=dtype)
    x, other = (torch.randn(2, 9, 48, dtype=dtype, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    other.copy_(x)
    x.requires_grad_(), other.requires_grad_()
    (plain(x) ** 2).sum().backward()
    (own(other) ** 2).sum().backward()
    close(other.grad, x.grad)
    close(input_gradient(own, plain(x).detach()), input_gradient(plain, plain(x).detach()))


def test_its_output_may_be_changed_in_place():
    _, own = pair()
    out = own(torch.randn(2, 3, 48, requires_grad=True))
    out.mul_(2).sum().backward()


@pytest.mark.parametrize("change", ["in place", "data", "parameter", "twice"])
def test_copies_follow_the_weight(change):
    plain, own = pair()
    x = torch.randn(4, 48, requires_grad=True)
    own(x).sum().backward()
    with torch.no_grad():
        if change == "in place":
            plain.weight.mul_(3)
            own.weight.mul_(3)
        elif change == "parameter":
            plain.weight.mul_(3)
            own.weight = nn.Parameter(plain.weight.clone(), requires_grad=False)
        else:
            for factor in (3, 5) if change == "twice" else (3,):
                plain.weight.mul_(factor)
                own.weight.data = own.weight.data * factor
    close(own(x), plain(x))
    close(input_gradient(own, plain(x)), input_gradient(plain, plain(x)))


def test_a_weight_that_is_trained_gets_its_gradient():
    _, own = pair()
    own.weight.requires_grad_(True)
    own(torch.randn(4, 48)).sum().backward()
    assert own.weight.grad is not None


def test_autocast_is_left_to_torch():
    _, own = pair()
    with torch.autocast("cpu", torch.bfloat16):
        assert own(torch.randn(4, 48)).dtype == torch.bfloat16


def test_layers_can_be_copied_and_pickled_after_use():
    plain, own = pair()
    x = torch.randn(4, 48)
    own(x)
    for again in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert "_copies" not in vars(again)
        close(again(x), plain(x))
    assert list(own.state_dict()) == ["weight", "bias"]


def test_other_layers_stay_as_they_are(monkeypatch):
    class Own(nn.Linear):
        pass

    base = nn.Sequential(Own(4, 4), nn.Linear(4, 4, device="meta"), nn.Linear(4, 4, dtype=torch.float16))
    use_own_linears(base)
    assert [type(layer) for layer in base] == [Own, nn.Linear, nn.Linear]
    monkeypatch.setattr(frozen_linear, "host_memory", lambda: 8 * 4 * 20 - 1)
    large = nn.Sequential(nn.Linear(4, 4))
    use_own_linears(large)
    assert type(large[0]) is nn.Linear
    assert not gets_copies(80)
    assert gets_copies(79)


def test_where_there_is_no_onednn_nothing_changes(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    base = nn.Sequential(nn.Linear(4, 4))
    use_own_linears(base)
    assert type(base[0]) is nn.Linear


def test_peft_merges_into_them():
    plain, own = pair()
    x = torch.randn(4, 48)
    config = LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    model = get_peft_model(nn.Sequential(own), config)
    compute_in_base_dtype(model, "default")
    adapted = model(x)
    assert not torch.allclose(adapted, plain(x), atol=1e-2)
    model.merge_adapter()
    close(model(x), adapted)
    model.unmerge_adapter()
    with model.disable_adapter():
        close(model(x), plain(x))


def test_a_reordered_weight_gives_the_same_product():
    weight, x = torch.randn(40, 48), torch.randn(8, 48)
    close(onednn.linear(x, onednn.reordered(weight)), x @ weight.t())
    close(onednn.linear(x, onednn.reordered(weight.t().contiguous().t())), x @ weight.t())
