"""Chunked, recomputed log-probs and entropies against the plain formula on whole logits."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.attention import NAMES, use_own_attention
from prerlkit.policy.base import head_is_plain
from prerlkit.policy.logprobs import Sequences, token_logprobs
from prerlkit.policy.packed import Packed, block_of, packs, packs_whole

CONTEXTS = tuple(tuple(text.encode()) for text in ("What is 2 + 2?", "Hi", "What is 2 + 2?", "What is 2 + 2?"))
COMPLETIONS = tuple(tuple(text.encode()) for text in ("four", "you there", "5", "22222"))
CPU = torch.device("cpu")


def packed(contexts=CONTEXTS, completions=COMPLETIONS) -> Sequences:
    return Sequences(contexts, completions, CPU)


def plain(model, temperature: float, contexts=CONTEXTS) -> tuple[torch.Tensor, torch.Tensor]:
    """One sequence at a time, no padding, no cache, whole logits."""
    logprobs, entropies = [], []
    for context, completion in zip(contexts, COMPLETIONS, strict=True):
        logits = model(input_ids=torch.tensor([context + completion]), use_cache=False).logits[0].float() / temperature
        logs = logits[len(context) - 1 : -1].log_softmax(-1)
        logprobs.append(logs.gather(-1, torch.tensor(completion)[:, None])[:, 0])
        entropies.append(-(logs.exp() * logs).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


def test_padding_is_on_the_right_and_never_scored():
    sequences = packed()
    tokens_BL, before_N = sequences.padded
    assert [bytes(row) for row in tokens_BL.tolist()] == [
        b"What is 2 + 2?four\0",
        b"Hiyou there" + b"\0" * 8,
        b"What is 2 + 2?5" + b"\0" * 4,
        b"What is 2 + 2?22222",
    ]
    assert bytes(sequences.targets_N.tolist()) == b"fouryou there522222"
    assert sequences.rows_N.tolist() == [0] * 4 + [1] * 9 + [2] + [3] * 5
    assert torch.equal(tokens_BL[sequences.rows_N, before_N + 1], sequences.targets_N)
    assert before_N[[0, 4, 13, 14]].tolist() == [13, 1, 13, 13]  # the last token of each context


@pytest.mark.parametrize("share_contexts", [True, False])
def test_only_the_form_that_is_used_is_made(share_contexts, make_model):
    model, sequences = make_model(), packed()
    use_own_attention(model, "cpu")
    token_logprobs(model, sequences, share_contexts=share_contexts)
    assert {"packed", "padded"} & vars(sequences).keys() == {"packed" if share_contexts else "padded"}


@pytest.mark.parametrize("share_contexts", [True, False])
@pytest.mark.parametrize(("temperature", "chunk"), [(1.0, 1), (0.7, 2), (1.0, 100)])
def test_values_and_gradients_are_the_plain_ones(chunk, temperature, share_contexts, make_model):
    model = make_model()
    use_own_attention(model, "cpu")
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


@pytest.mark.parametrize("share_contexts", [True, False])
@pytest.mark.parametrize(("temperature", "chunk"), [(1.0, 1), (0.7, 2), (1.0, 100)])
def test_the_gradient_made_with_a_frozen_heads_probabilities_is_the_plain_one(
    chunk, temperature, share_contexts, make_model
):
    model = make_model()
    use_own_attention(model, "cpu")
    model.requires_grad_(False)
    trained = list(model.get_decoder().layers.parameters())
    for parameter in trained:
        parameter.requires_grad_(True)
    logprobs, _ = token_logprobs(model, packed(), temperature=temperature, chunk=chunk, share_contexts=share_contexts)
    assert "HeadLogprobs" in logprobs.grad_fn.name()
    expected, _ = plain(model, temperature)
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=1e-5)
    weights = torch.linspace(-1.0, 1.0, len(expected))
    ours = torch.autograd.grad((weights * logprobs.exp()).sum(), trained)  # not linear in the log-probs
    theirs = torch.autograd.grad((weights * expected.exp()).sum(), trained)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert max(a.abs().max() for a in ours) > 1e-3


def test_one_start_token_is_shared_by_all_completions(make_model):
    model = make_model()
    use_own_attention(model, "cpu")
    contexts = ((257,),) * 4
    sequences = packed(contexts)
    assert sequences.packed.tokens_M[:4].tolist() == [257, *b"fou"]
    assert len(sequences.packed.tokens_M) == 1 + sum(len(completion) - 1 for completion in COMPLETIONS)
    ours, _ = token_logprobs(model, sequences, share_contexts=True)
    torch.testing.assert_close(ours, plain(model, 1.0, contexts)[0])


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # what a CUDA device gets runs here too
@pytest.mark.parametrize("share_contexts", [True, False])
@pytest.mark.parametrize("family", ["gemma2", "qwen2", "gpt2"])
def test_sliding_windows_capped_logits_and_learned_positions(family, share_contexts, device, make_family):
    """The window is shorter than the longer context."""
    model = make_family(family)
    before = plain(model, 1.0)[0]
    use_own_attention(model, device)
    # Gemma 2's scores are capped: transformers 5.16 gives them to torch's fused kernel, 5.24 to its own plain one.
    replaced = model.config._attn_implementation in NAMES.values()
    assert replaced or family == "gemma2"
    assert packs(model) == replaced
    share = share_contexts and packs(model)
    ours, _ = token_logprobs(model, packed(), plain_head=head_is_plain(model, 65), share_contexts=share)
    torch.testing.assert_close(ours, before, atol=1e-4, rtol=1e-4)


def test_a_window_is_cut_once_for_all_layers():
    """Two windows and none: each layer gets what the positions say, from one tensor a window."""
    row = Packed.of([tuple(range(12)), (1,)], [(4, 5, 6, 7, 8), (9, 9)])
    given: dict[int | None, list[torch.Tensor]] = {}
    states = torch.zeros(1, 1, len(row.tokens_M), 1)
    for window in (None, 3, 5, 3, None):
        row.attend(
            states, states, states, window, lambda q, k, v, seen, w=window: (given.setdefault(w, []).append(seen), q)[1]
        )
    for window, masks in given.items():
        for block, seen in zip(row.blocks, masks, strict=False):
            apart = row.positions_M[block.queries_BT][:, :, None] - row.positions_M[block.keys_BS][:, None]
            expected = block.seen_BTS if window is None else block.seen_BTS & (apart < window)
            assert torch.equal(seen[:, 0], expected)
        count = len(row.blocks)
        assert [m.data_ptr() for m in masks[:count]] == [m.data_ptr() for m in masks[-count:]]
    assert not torch.equal(given[3][0], given[5][0])


def test_a_model_that_looks_at_nothing_but_its_row_is_found_out(make_model):
    model = make_model()
    assert not packs(model)  # transformers' own attention: the row's sequences would see each other
    use_own_attention(model, "cpu")
    assert packs(model)
    forward = model.get_decoder().forward

    def numbered(*args, position_ids=None, **kwargs):
        return forward(*args, **kwargs)  # a model with positions of its own

    model.get_decoder().forward = numbered
    assert not packs(model)

    def odd(*args, position_ids=None, **kwargs):
        raise AttributeError("no attribute of that name")  # code of a model that transformers doesn't know

    model.get_decoder().forward = odd
    assert not packs(model)


@pytest.mark.parametrize("probe", [packs, packs_whole])
def test_each_pass_that_decides_on_packed_rows_has_more_than_32_tokens(make_model, probe):
    """With fewer bitsandbytes multiplies NF4 weights by a kernel that rounds otherwise on CUDA."""
    model, tokens = make_model(), []
    use_own_attention(model, "cpu")
    decoder = model.get_decoder()
    decoder.register_forward_pre_hook(lambda _, __, given: tokens.append(given["input_ids"].numel()), with_kwargs=True)
    assert probe(model)
    assert len(tokens) == 4  # the row, and each of its sequences
    assert min(tokens) > 32


def test_what_a_packed_row_looks_like():
    """Two contexts, then the completions without their last tokens; queries of a length behind their own context."""
    row = Packed.of([(1, 2), (3,), (1, 2)], [(4, 5), (6,), (7, 8, 9)])
    assert row.tokens_M.tolist() == [1, 2, 3, 4, 7, 8]
    assert row.positions_M.tolist() == [0, 1, 0, 2, 2, 3]
    assert row.scores_N.tolist() == [1, 3, 2, 1, 4, 5]
    (block,) = row.blocks  # all shorter than the smallest block
    length = block.queries_BT.shape[1]
    seen_MS = block.seen_BTS.flatten(0, 1)[row.restore_M]
    keys_MS = block.keys_BS.repeat_interleave(length, 0)[row.restore_M]
    seen = {m: set(keys[sees].tolist()) for m, (keys, sees) in enumerate(zip(keys_MS, seen_MS, strict=True))}
    assert block.queries_BT.flatten()[row.restore_M].tolist() == [0, 1, 2, 3, 4, 5]
    assert seen == {0: {0}, 1: {0, 1}, 2: {2}, 3: {0, 1, 3}, 4: {0, 1, 4}, 5: {0, 1, 4, 5}}


def test_lengths_of_one_block_differ_by_less_than_a_factor_of_two():
    assert [block_of(n) for n in (1, 8, 9, 16, 17, 32, 33)] == [3, 3, 4, 4, 5, 5, 6]


def test_a_model_that_changes_its_logits_after_the_head_is_found_out(make_model, make_family):
    assert head_is_plain(make_model(), 65)
    assert not head_is_plain(make_family("gemma2"), 65)


@pytest.mark.parametrize(("frozen", "entropy"), [(False, False), (True, True), (True, False)])
def test_no_logits_of_the_whole_batch_are_ever_held(make_model, frozen, entropy):
    """The largest thing with a vocabulary axis is [chunk, V], forward and backward."""
    model = make_model()
    model.get_output_embeddings().requires_grad_(not frozen)
    size, shapes = model.config.vocab_size, []

    class Shapes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            shapes.extend(tuple(x.shape) for x in (out if isinstance(out, tuple) else (out,)) if hasattr(x, "shape"))
            return out

    with Shapes():
        token_logprobs(model, packed(), chunk=2, entropy=entropy)[0].sum().backward()
    logits = [shape for shape in shapes if len(shape) > 1 and shape[-1] == size]
    assert logits
    assert all(shape in {(2, size), (1, size), (model.config.hidden_size, size)} for shape in logits)


def test_the_probe_of_packed_rows_stays_out_of_the_reach_of_kernels_for_few_rows(make_model, monkeypatch):
    """bitsandbytes multiplies up to 32 rows of NF4 by another kernel on CUDA: a model would be refused for it."""
    model = make_model().eval()
    use_own_attention(model, "cpu")
    rows = []
    hook = model.model.layers[0].mlp.down_proj.register_forward_hook(
        lambda layer, args, output: rows.append(args[0].flatten(0, -2).shape[0])
    )
    assert packs(model)
    hook.remove()
    assert min(rows) > 32
