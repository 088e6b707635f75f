"""The engine for every other model: through `generate`, with the same draws."""

from __future__ import annotations

import pytest
import torch
import transformers

from prerlkit.policy.base import head_is_plain
from prerlkit.rollout.generate import GenerateEngine, decoding_problem, local_engine
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Prompt

PROMPTS = [Prompt(f"train/{i}", text, tuple(text.encode())) for i, text in enumerate(["Hi", "No", "What is 2 + 2?"])]


def by_place(engine, sampling):
    return {(p, s): completion for p, s, completion in engine.generate(PROMPTS, sampling)}


@pytest.mark.parametrize("temperature", [1.0, 0.7, None])
@pytest.mark.parametrize("max_sequences", [64, 3])
def test_both_engines_give_the_same_completions(tiny_policy, temperature, max_sequences):
    ends = (*tiny_policy.end_ids, *range(60))
    sampling = Sampling(3, 12, temperature, seed=2)
    fast = by_place(HfEngine(tiny_policy.base, tiny_policy.tokenizer, ends, 64, plain_head=True), sampling)
    slow = by_place(GenerateEngine(tiny_policy.base, tiny_policy.tokenizer, ends, max_sequences), sampling)
    assert set(slow) == set(fast)
    for place, completion in slow.items():
        assert completion.token_ids == fast[place].token_ids
        assert completion.logprobs == pytest.approx(fast[place].logprobs, abs=1e-4)
        assert (completion.truncated, completion.text) == (fast[place].truncated, fast[place].text)


@pytest.mark.parametrize("family", ["gemma2", "qwen2", "gpt2"])
def test_families_with_keys_and_values_take_the_fast_engine(family, make_family, make_tokenizer):
    model = make_family(family)
    assert decoding_problem(model) is None
    engine, note = local_engine(model, make_tokenizer(), (256,), 8, plain_head=head_is_plain(model, 65))
    assert isinstance(engine, HfEngine)
    assert note is None


@pytest.mark.parametrize("kind", ["Lfm2", "Bloom"])
def test_states_and_positions_by_slopes_take_the_fast_engine(kind, make_tokenizer):
    """Recurrent states are repeated and picked as keys are; slopes by position want a cache without room ahead."""
    torch.manual_seed(0)
    common = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
    convolving = {"layer_types": ["conv", "full_attention"], "intermediate_size": 48, "num_key_value_heads": 2}
    own = {**convolving, "num_attention_heads": 4} if kind == "Lfm2" else {"n_head": 4}
    config = getattr(transformers, f"{kind}Config")(**common, **own)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    engine, note = local_engine(model, make_tokenizer(), (256,), 3, plain_head=False)
    assert isinstance(engine, HfEngine)
    assert note is None
    for (p, _), completion in by_place(engine, Sampling(2, 6, None, seed=1)).items():
        ids = list(PROMPTS[p].token_ids)
        for token in completion.token_ids:  # greedy, without a cache
            assert model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax() == token
            ids.append(token)


def test_a_recurrent_model_falls_back_and_says_so(make_tokenizer):
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=264, hidden_size=32, state_size=4, num_hidden_layers=2)
    model = transformers.MambaForCausalLM(config).eval()
    engine, note = local_engine(model, make_tokenizer(), (256,), 8, plain_head=False)
    assert isinstance(engine, GenerateEngine)
    assert "generate" in note
    assert "cache" in note
    for (p, _), completion in by_place(engine, Sampling(2, 6, None, seed=1)).items():
        ids = list(PROMPTS[p].token_ids)
        for token in completion.token_ids:  # greedy, without a cache
            assert model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax() == token
            ids.append(token)


def test_a_cache_that_is_wrong_is_noticed(tiny_policy, monkeypatch):
    """A cache that mixes up its rows: decoding would go on without an error."""
    from transformers.cache_utils import CacheLayerMixin

    assert decoding_problem(tiny_policy.base) is None
    real = CacheLayerMixin.reorder_cache

    def mixed(self, indices):
        real(self, indices.flip(0))

    monkeypatch.setattr(CacheLayerMixin, "reorder_cache", mixed)
    assert "logits" in decoding_problem(tiny_policy.base)
