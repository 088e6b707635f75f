"""The simulated device refuses what CUDA refuses, waits where it waits, and counts and limits its memory."""

from __future__ import annotations

import pytest
import torch


def here(*shape, **options):
    return torch.randn(*shape, **options).to("cuda")


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda x: x + torch.ones(4, 5), "same device"),
        (lambda x: x @ torch.ones(5, 2), "same device"),
        (lambda x: x.index_select(0, torch.tensor([0])), "same device"),
        (lambda x: x.numpy(), "numpy"),
        (lambda x: torch.randn(3, device="cuda", generator=torch.Generator()), "generator"),
        (lambda x: x.long() @ x.long().T, "integers"),
    ],
)
def test_what_cuda_refuses(device, work, said):
    with pytest.raises((RuntimeError, TypeError), match=said):
        work(here(4, 5))


def test_a_number_on_the_host_and_an_index_on_the_host_are_allowed(device):
    x = here(4, 5)
    assert (x + torch.tensor(1.0)).device.type == "cuda"
    assert x[torch.tensor([0, 1])].shape == (2, 5)
    assert device.events["wait index from the host"] == 1


def test_where_the_host_waits(device):
    x = here(4, 5)
    y = (x * 2).softmax(-1).argmax(-1)
    assert not device.waits
    y.tolist()
    x.sum().item()
    x[x > 0]
    x.nonzero()
    assert device.events["wait copy to the host"] == 1
    assert device.events["wait item"] == 1
    assert device.events["wait index by a mask"] == 1
    assert device.events["wait aten::nonzero"] >= 1
    assert all("test_device.py" in line for line in device.waits)


def test_memory_is_counted_limited_and_not_zero_at_first(device):
    before = device.held
    x = torch.empty(1024, device="cuda")
    assert device.held - before == 4096
    assert x.cpu().isnan().all()
    device.limit = device.held + 4096
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        torch.empty(2048, device="cuda")
    del x
    assert device.held == before


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_are_the_cpus(device, causal):
    host = [torch.randn(2, 4, 6, 8, requires_grad=True) for _ in range(3)]
    there = [tensor.detach().to("cuda").requires_grad_() for tensor in host]
    mask = None if causal else torch.ones(6, 6, dtype=torch.bool).tril(2)[None, None]
    attend = torch.nn.functional.scaled_dot_product_attention
    ours = attend(*there, attn_mask=None if mask is None else mask.to("cuda"), is_causal=causal)
    theirs = attend(*host, attn_mask=mask, is_causal=causal)
    torch.testing.assert_close(ours.cpu(), theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for mine, right in zip(there, host, strict=True):
        torch.testing.assert_close(mine.grad.cpu(), right.grad)
    assert device.events["attention: memory-efficient"] == (not causal)
