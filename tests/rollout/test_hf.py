"""The engine in the training process against the plain way: one sequence at a time, whole logits, no cache."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.base import head_is_plain
from prerlkit.policy.logprobs import Sequences
from prerlkit.recipe.model import Adapter
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.sampling import sample_tokens
from prerlkit.seeds import uniforms
from prerlkit.types import Prompt

PROMPTS = [Prompt(f"train/{i}", text, tuple(text.encode())) for i, text in enumerate(["Hi", "What is 2 + 2?", "No. 3"])]


def sampled(policy, sampling: Sampling, prompts=PROMPTS, max_sequences: int = 64):
    engine = HfEngine(policy.base, policy.tokenizer, policy.end_ids, max_sequences, plain_head=policy.plain_head)
    return {(p, s): completion for p, s, completion in engine.generate(prompts, sampling)}


@torch.no_grad()
def plainly(policy, prompt: Prompt, sample: int, sampling: Sampling) -> tuple[list[int], list[float], bool]:
    """The same draws without cache, batch or padding."""
    chances = torch.from_numpy(uniforms(sampling.seed, sampling.max_new_tokens, prompt.id, sample))
    ids, logprobs = list(prompt.token_ids), []
    for t in range(sampling.max_new_tokens):
        logits = policy.base(input_ids=torch.tensor([ids])).logits[:, -1]
        token, logprob = sample_tokens(logits, chances[t : t + 1], sampling.temperature)
        ids.append(token.item())
        logprobs.append(logprob.item())
        if ids[-1] in policy.end_ids:
            return ids[len(prompt.token_ids) :], logprobs, True
    return ids[len(prompt.token_ids) :], logprobs, False


@pytest.fixture
def policy(tiny_policy):
    """With an adapter that changes every logit, and an end token that is often drawn."""
    tiny_policy.adapters.fresh("a", Adapter(rank=3, alpha=6), seed=1)
    generator = torch.Generator().manual_seed(0)
    for parameter in tiny_policy.adapters.trainable:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return tiny_policy


@pytest.mark.parametrize("temperature", [1.0, 0.5, None])
def test_every_completion_is_what_the_plain_way_gives(policy, temperature):
    ends = (*policy.end_ids, *range(60))  # many end tokens: completions of many lengths
    policy = _with_ends(policy, ends)
    sampling = Sampling(4, 12, temperature, seed=5)
    completions = sampled(policy, sampling)
    assert set(completions) == {(p, s) for p in range(3) for s in range(4)}
    lengths = {len(c.token_ids) for c in completions.values()}
    assert temperature is None or len(lengths) > 2
    for (p, s), completion in completions.items():
        ids, logprobs, ended = plainly(policy, PROMPTS[p], s, sampling)
        assert list(completion.token_ids) == ids
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert completion.truncated is not ended
        assert completion.text == policy.tokenizer.decode([i for i in ids if i not in ends])


def _with_ends(policy, ends):
    import dataclasses

    return dataclasses.replace(policy, tokens=dataclasses.replace(policy.tokens, end_ids=ends))


@pytest.mark.parametrize("max_sequences", [1, 3, 5])
def test_a_completion_does_not_depend_on_what_is_decoded_beside_it(policy, max_sequences):
    sampling = Sampling(4, 8, 1.0, seed=9)
    together = sampled(policy, sampling)
    apart = sampled(policy, sampling, max_sequences=max_sequences)
    alone = sampled(policy, sampling, prompts=PROMPTS[1:2])
    for key, completion in together.items():
        assert apart[key].token_ids == completion.token_ids
    for s in range(4):
        assert alone[0, s].token_ids == together[1, s].token_ids


def test_seeds_decide_the_draws(policy):
    one, again = sampled(policy, Sampling(2, 8, 1.0, seed=1)), sampled(policy, Sampling(2, 8, 1.0, seed=1))
    other = sampled(policy, Sampling(2, 8, 1.0, seed=2))
    assert {k: c.token_ids for k, c in one.items()} == {k: c.token_ids for k, c in again.items()}
    assert {k: c.token_ids for k, c in one.items()} != {k: c.token_ids for k, c in other.items()}
    assert one[0, 0].token_ids != one[0, 1].token_ids


def test_the_recorded_logprobs_are_the_trainers(policy):
    """On the same model they can't drift: what the sampler wrote down is what training would score."""
    completion = sampled(policy, Sampling(1, 10, 0.8, seed=3))[1, 0]
    sequences = Sequences([PROMPTS[1].token_ids], [completion.token_ids], policy.device)
    scored, _ = policy.logprobs(sequences, temperature=0.8, chunk=4, entropy=False)
    assert completion.logprobs == pytest.approx(scored.tolist(), abs=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "qwen2", "gpt2"])
def test_other_families_and_sliding_windows_decode_right(family, make_tokenizer, make_family):
    """A sliding window shorter than prompt plus completion, soft-capped logits, and learned positions."""
    model = make_family(family)

    class Bare:
        base, tokenizer, end_ids = model, make_tokenizer(), (256,)
        plain_head = head_is_plain(model, 65)

    assert Bare.plain_head is (family != "gemma2")  # which caps its logits behind the head
    sampling = Sampling(3, 14, 1.0, seed=4)
    for (p, s), completion in sampled(Bare, sampling).items():
        ids, logprobs, _ = plainly(Bare, PROMPTS[p], s, sampling)
        assert list(completion.token_ids) == ids
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-3)


def test_waiting_prompts_enter_beside_longer_completions(policy, monkeypatch):
    """Prompts of many lengths take places as they become free, in the middle of the others' decoding."""
    from prerlkit.rollout import cache

    joined = []
    real = cache.join
    monkeypatch.setattr(cache, "join", lambda *arguments: joined.append(1) or real(*arguments))
    prompts = [Prompt(f"train/{i}", "", tuple(b"abcdefghijkl"[: 1 + 5 * i % 12])) for i in range(9)]
    policy = _with_ends(policy, (*policy.end_ids, *range(25)))
    sampling = Sampling(2, 40, 1.0, seed=8)
    completions = sampled(policy, sampling, prompts, max_sequences=6)
    assert len(joined) >= 3
    assert set(completions) == {(p, s) for p in range(9) for s in range(2)}
    for (p, s), completion in completions.items():
        ids, logprobs, _ = plainly(policy, prompts[p], s, sampling)
        assert list(completion.token_ids) == ids
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)


def test_layers_compute_as_before_once_sampling_is_over(policy):
    tokens = torch.tensor([[5, 6, 7]])
    before = policy.base(input_ids=tokens).logits
    engine = HfEngine(policy.base, policy.tokenizer, (), 64, plain_head=True)
    stream = engine.generate(PROMPTS, Sampling(2, 4, 1.0, seed=0))
    next(stream)
    stream.close()  # left in the middle
    assert not any("forward" in vars(module) for module in policy.base.modules())
    assert torch.equal(policy.base(input_ids=tokens).logits, before)
    policy.base(input_ids=tokens).logits.sum().backward()
    assert all(p.grad is not None for p in policy.adapters.trainable)


def test_a_stack_of_two_and_a_reference_below_are_sampled_as_they_stand(policy):
    policy.adapters.fresh("b", Adapter(rank=2, alpha=8, rslora=True), seed=3)
    for parameter in policy.adapters.trainable:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(2, 8, 1.0, seed=7)

    def check():
        for (p, s), completion in sampled(policy, sampling).items():
            ids, logprobs, _ = plainly(policy, PROMPTS[p], s, sampling)
            assert list(completion.token_ids) == ids
            assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)

    check()
    with policy.adapters.reference():
        check()
    policy.adapters.merge_top()
    check()


def test_columns_of_rows_that_left_are_cut_and_a_finished_batch_holds_no_cache(policy):
    """Long prompts leave early: what is decoded after them must not go on behind their columns."""
    from prerlkit.rollout.cache import ROOM
    from prerlkit.rollout.decode import Batch, PromptGroup, logits_by_head

    long, short = Prompt("long", "", (7,) * 60), Prompt("short", "", (8,) * 5)
    sampling = Sampling(1, 2 * ROOM, 1.0, seed=3)
    with torch.no_grad():
        batch = Batch(policy.base, logits_by_head, sampling, ())
        batch.step([PromptGroup(0, long, range(1)), PromptGroup(1, short, range(1))])
        batch._rows[0].finished = True
        widths, rows = [], []
        while not batch.empty:
            rows += batch.step([])
            widths.append(batch._cache.layers[0].keys.shape[2])
        batch.step([PromptGroup(0, short, range(1))])  # asks a batch that has nothing left
    assert max(widths) <= 5 + 2 * ROOM + ROOM
    ids, logprobs, _ = plainly(_with_ends(policy, ()), short, 0, sampling)
    assert rows[0].tokens == ids[-2 * ROOM :]
    assert rows[0].logprobs == pytest.approx(logprobs, abs=1e-4)
