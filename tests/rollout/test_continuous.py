"""transformers' continuous batching as an engine: what it samples is the policy's, with the adapters of all stages."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.logprobs import Sequences
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.continuous import ContinuousEngine, paged_memory, pages_of
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Prompt

PROMPTS = [Prompt(str(i), "", tuple(range(20, 30 + 5 * i)), None, {}) for i in range(3)]


@pytest.fixture
def policy(tiny_policy, tiny_recipe):
    """The tiny policy with two stages' adapters, both away from zero."""
    for number, stage in enumerate(Recipe.model_validate(tiny_recipe()).stages):
        tiny_policy.adapters.fresh(stage.name, stage.adapter, number)
        with torch.no_grad():
            for parameter in tiny_policy.adapters.trainable:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return tiny_policy


def sample(policy, sampling, *, at_once=4, pages=8):
    engine = ContinuousEngine(policy.base, policy.tokenizer, policy.end_ids, at_once, pages)
    return {(i, s): completion for i, s, completion in engine.generate(PROMPTS, sampling)}


def plain(policy, found):
    places = sorted(found)
    sequences = Sequences(
        [PROMPTS[i].token_ids for i, _ in places], [found[p].token_ids for p in places], policy.device
    )
    with torch.no_grad():
        logprobs_N, _ = policy.logprobs(sequences, temperature=1.0, chunk=64, entropy=False)
    return logprobs_N, torch.tensor([one for p in places for one in found[p].logprobs])


def test_its_logprobs_are_those_of_a_forward_pass_with_both_adapters(policy):
    attention = policy.base.config._attn_implementation
    state = torch.random.get_rng_state()
    found = sample(policy, Sampling(2, 12, 1.0, seed=3))
    assert sorted(found) == [(i, s) for i in range(3) for s in range(2)]
    ours_N, theirs_N = plain(policy, found)
    torch.testing.assert_close(theirs_N, ours_N, atol=2e-3, rtol=0)
    assert policy.base.config._attn_implementation == attention
    assert torch.equal(torch.random.get_rng_state(), state)
    for completion in found.values():
        assert completion.truncated == (completion.token_ids[-1] not in policy.end_ids)
        assert len(completion.token_ids) == len(completion.logprobs) <= 12


def test_greedy_is_what_the_engine_hf_takes(policy):
    engine, _ = policy.engine(4)
    greedy = Sampling(1, 8, None, seed=0)
    theirs = {(i, s): c.token_ids for i, s, c in engine.generate(PROMPTS, greedy)}
    assert {place: c.token_ids for place, c in sample(policy, greedy).items()} == theirs


def test_a_small_cache_makes_requests_wait_and_loses_none(policy):
    assert len(sample(policy, Sampling(4, 6, 1.0, seed=1), at_once=2, pages=2)) == 12


def test_memory_by_hand(policy):
    config = policy.base.config
    need = paged_memory(config, sequences=4, item=4)
    cached = 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, width, bytes
    read = (2 * 4 * 16 + 2 * 16) * 4 + 2048 * 4  # expanded keys and values with one layer's own, and the mask's column
    assert need.page == 256 * (cached + read)
    assert [pages_of(length) for length in (1, 254, 255, 256, 600)] == [1, 1, 1, 2, 3]
