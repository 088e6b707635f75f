"""Chunked, recomputed log-probs and entropies against the plain formula on whole logits."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.base import head_is_plain
from prerlkit.policy.logprobs import Sequences, token_logprobs

CONTEXTS = tuple(tuple(text.encode()) for text in ("What is 2 + 2?", "Hi", "What is 2 + 2?", "What is 2 + 2?"))
COMPLETIONS = tuple(tuple(text.encode()) for text in ("four", "you there", "5", "22222"))
CPU = torch.device("cpu")


def packed(contexts=CONTEXTS, completions=COMPLETIONS) -> Sequences:
    return Sequences.pack(contexts, completions, CPU)


def plain(model, temperature: float, contexts=CONTEXTS) -> tuple[torch.Tensor, torch.Tensor]:
    """One sequence at a time, no padding, no cache, whole logits."""
    logprobs, entropies = [], []
    for context, completion in zip(contexts, COMPLETIONS, strict=True):
        logits = model(input_ids=torch.tensor([context + completion]), use_cache=False).logits[0].float() / temperature
        logs = logits[len(context) - 1 : -1].log_softmax(-1)
        logprobs.append(logs.gather(-1, torch.tensor(completion)[:, None])[:, 0])
        entropies.append(-(logs.exp() * logs).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


def test_equal_contexts_stand_once_and_padding_is_where_it_should_be():
    sequences = packed()
    assert sequences.contexts_PS.shape == (2, 14)
    assert sequences.contexts_PS[1].tolist() == [0] * 12 + list(b"Hi")
    assert sequences.owner_B.tolist() == [0, 1, 0, 0]
    assert sequences.completions_BT[2].tolist() == [ord("5")] + [0] * 8
    scored = sequences.completions_BT[sequences.rows_N, sequences.columns_N]
    assert bytes(scored.tolist()) == b"fouryou there522222"


@pytest.mark.parametrize("share_contexts", [True, False])
@pytest.mark.parametrize(("temperature", "chunk"), [(1.0, 1), (0.7, 2), (1.0, 100)])
def test_values_and_gradients_are_the_plain_ones(chunk, temperature, share_contexts, make_model):
    model = make_model()
    logprobs, entropy = token_logprobs(
        model, packed(), temperature=temperature, chunk=chunk, share_contexts=share_contexts, entropy=True
    )
    expected, expected_entropy = plain(model, temperature)
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, expected_entropy, atol=1e-5, rtol=1e-5)
    weights = torch.linspace(-1.0, 1.0, len(expected))
    ours = torch.autograd.grad((weights * logprobs + entropy).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((weights * expected + expected_entropy).sum(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_one_start_token_is_shared_by_all_completions(make_model):
    model = make_model()
    contexts = ((257,),) * 4
    sequences = packed(contexts)
    assert sequences.contexts_PS.tolist() == [[257]]
    torch.testing.assert_close(token_logprobs(model, sequences)[0], plain(model, 1.0, contexts)[0])


@pytest.mark.parametrize("share_contexts", [True, False])
@pytest.mark.parametrize("family", ["gemma2", "qwen2", "gpt2"])
def test_sliding_windows_capped_logits_and_learned_positions(family, share_contexts, make_family):
    """The window is shorter than the longer context."""
    model = make_family(family)
    ours, _ = token_logprobs(model, packed(), plain_head=head_is_plain(model, 65), share_contexts=share_contexts)
    torch.testing.assert_close(ours, plain(model, 1.0)[0], atol=1e-4, rtol=1e-4)


def test_a_model_that_changes_its_logits_after_the_head_is_found_out(make_model, make_family):
    assert head_is_plain(make_model(), 65)
    assert not head_is_plain(make_family("gemma2"), 65)


def test_no_logits_of_the_whole_batch_are_ever_held(make_model):
    """The largest thing with a vocabulary axis is [chunk, V]."""
    model = make_model()
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, out: seen.append(tuple(out.shape)))
    token_logprobs(model, packed(), chunk=2)[0].sum().backward()
    assert seen
    assert all(shape[0] <= 2 and len(shape) == 2 for shape in seen)
