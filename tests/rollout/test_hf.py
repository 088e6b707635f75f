"""The engine in the training process against the plain way: one sequence at a time, whole logits, no cache."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.base import head_is_plain
from prerlkit.policy.logprobs import Sequences
from prerlkit.recipe.schema import Adapter
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.rollout.sampling import draw
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
        token, logprob = draw(logits, chances[t : t + 1], sampling.temperature)
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
        assert completion.text == policy.tokenizer.decode(ids, skip_special_tokens=True)


def _with_ends(policy, ends):
    import dataclasses

    return dataclasses.replace(policy, end_ids=ends)


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
    sequences = Sequences.pack([PROMPTS[1].token_ids], [completion.token_ids], policy.device)
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
