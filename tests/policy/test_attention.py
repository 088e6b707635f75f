"""Grouped attention against torch's fused kernel: values, gradients, padding, and when it stands back."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from prerlkit.policy import attention as module
from prerlkit.policy.attention import grouped_attention, use_own_attention
from prerlkit.policy.attention import on_cpu as attention

SHAPES = [(1, 9), (5, 5), (4, 11)]  # decoding, prefill, completions behind a cached context


def tensors(queries: int, keys: int, *, batch: int = 3, heads: int = 6, groups: int = 2):
    generator = torch.Generator().manual_seed(queries)
    shapes = ((batch, heads, queries, 8), (batch, groups, keys, 8), (batch, groups, keys, 8))
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("queries", "keys"), SHAPES)
def test_values_and_gradients_are_those_of_the_fused_kernel(queries, keys):
    query, key, value = tensors(queries, keys)
    mask = torch.ones(3, 1, queries, keys, dtype=torch.bool).tril(keys - queries)
    mask[1, :, :, :2] = False  # left padding
    if queries == keys:
        mask[1, :, 1, 1] = False  # a padded query sees nothing at all
    ours = grouped_attention(query, key, value, mask, 0.3)
    seen = mask.any(-1, keepdim=True)
    theirs = scaled_dot_product_attention(
        query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1), attn_mask=mask, scale=0.3
    )
    assert ours.isfinite().all()
    torch.testing.assert_close(ours * seen, theirs.nan_to_num() * seen)
    weights = torch.randn_like(ours) * seen
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), (query, key, value)),
        torch.autograd.grad((theirs.nan_to_num() * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(a, b.nan_to_num())


def test_without_a_mask_it_is_causal_from_the_end():
    query, key, value = tensors(4, 11)
    out, _ = attention(torch.nn.Module(), query, key, value, None, scaling=0.3)
    mask = torch.ones(4, 11, dtype=torch.bool).tril(7)[None, None]
    torch.testing.assert_close(out, grouped_attention(query, key, value, mask, 0.3).transpose(1, 2))


def test_many_queries_and_special_arguments_go_to_the_fused_kernel(monkeypatch):
    from transformers.integrations import sdpa_attention

    fused = []
    monkeypatch.setattr(sdpa_attention, "sdpa_attention_forward", lambda *args, **others: fused.append(others))
    long, short = tensors(129, 129), tensors(65, 65)
    attention(torch.nn.Module(), *long, None, scaling=0.3)
    with torch.no_grad():
        attention(torch.nn.Module(), *short, None, scaling=0.3)
    attention(torch.nn.Module(), *tensors(4, 4), None, scaling=0.3, softcap=50.0)
    assert [others.get("softcap") for others in fused] == [None, None, 50.0]
    attention(torch.nn.Module(), *short, None, scaling=0.3)  # with gradient 65 are still few
    assert len(fused) == 3


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # what a CUDA device gets runs here too
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_model_gives_the_same_logits_with_it(family, device, make_family, make_model):
    model = make_model().eval() if family == "llama" else make_family(family)
    tokens, mask = torch.tensor([list(b"What is 2 + 2?"), list(b"\0\0\0\0\0\0What is ")]), torch.ones(2, 14).long()
    mask[1, :6] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        before = model(input_ids=tokens, attention_mask=mask, position_ids=positions).logits[:, 6:]
        use_own_attention(model, device)
        assert model.config._attn_implementation == module.NAMES[device]
        after = model(input_ids=tokens, attention_mask=mask, position_ids=positions).logits[:, 6:]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
