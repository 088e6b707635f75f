"""Chunked, recomputed log-probs and entropies against the plain formula on whole logits."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.base import head_is_plain
from prerlkit.policy.logprobs import token_logprobs

TOKENS = torch.tensor([list(b"abcdefgh"), list(b"ijklm\0\0\0")])
ROWS = torch.tensor([0, 0, 0, 1, 1])
COLUMNS = torch.tensor([3, 4, 7, 1, 4])


def plain(model, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    logits = model(input_ids=TOKENS).logits.float() / temperature
    logs = logits.log_softmax(-1)[ROWS, COLUMNS - 1]
    return logs.gather(-1, TOKENS[ROWS, COLUMNS][:, None])[:, 0], -(logs.exp() * logs).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_values_and_gradients_are_the_plain_ones(chunk, temperature, make_model):
    model = make_model()
    logprobs, entropy = token_logprobs(model, TOKENS, ROWS, COLUMNS, temperature=temperature, chunk=chunk, entropy=True)
    expected, expected_entropy = plain(model, temperature)
    torch.testing.assert_close(logprobs, expected)
    torch.testing.assert_close(entropy, expected_entropy)
    weights = torch.arange(1.0, 6.0)
    ours = torch.autograd.grad((weights * logprobs + entropy).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((weights * expected + expected_entropy).sum(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_a_model_that_changes_its_logits_after_the_head_takes_the_plain_path(make_model):
    model = make_model()
    assert head_is_plain(model, 65)

    class Capped(torch.nn.Module):
        """Gemma 2 caps its logits behind the head."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.device = inner.device

        def forward(self, **inputs):
            out = self.inner(**inputs)
            out.logits = 3 * torch.tanh(out.logits / 3)
            return out

        def get_output_embeddings(self):
            return self.inner.get_output_embeddings()

        def get_decoder(self):
            return self.inner.get_decoder()

    capped = Capped(model)
    assert not head_is_plain(capped, 65)
    ours, _ = token_logprobs(capped, TOKENS, ROWS, COLUMNS, plain_head=False)
    torch.testing.assert_close(ours, plain(capped, 1.0)[0])


def test_no_logits_of_the_whole_batch_are_ever_held(make_model):
    """The largest thing with a vocabulary axis is [chunk, V]."""
    model = make_model()
    seen = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    logprobs, _ = token_logprobs(model, TOKENS, ROWS, COLUMNS, chunk=2)
    logprobs.sum().backward()
    assert seen
    assert all(shape[0] <= 2 and len(shape) == 2 for shape in seen)
