"""Position schemes that depend on a text's length are one function in a run: sampler and trainer agree."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Model
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Prompt

ORIGINAL = 16
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [6.0] * 4,
    "original_max_position_embeddings": ORIGINAL,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0}


def scaled(folder, kind, make_tokenizer, length):
    import transformers

    common = {
        "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "initializer_range": 0.3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": None,
        "eos_token_id": 256,
    }  # fmt: skip
    torch.manual_seed(0)
    if kind == "longrope":
        config = transformers.Phi3Config(
            **common, rope_parameters=LONGROPE, original_max_position_embeddings=ORIGINAL, max_position_embeddings=128
        )
        model = transformers.Phi3ForCausalLM(config)
    else:
        config = transformers.LlamaConfig(**common, rope_parameters=DYNAMIC, max_position_embeddings=ORIGINAL)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    settings = Model(id=str(folder), dtype="float32", device="cpu")
    return load_policy(str(folder), settings, read_tokens(str(folder), settings), length=length)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_recorded_log_probs_beyond_the_original_length_are_the_trainers(tmp_path, kind, make_tokenizer):
    policy = scaled(tmp_path, kind, make_tokenizer, length=64)
    (note,) = policy.notes
    assert kind in note
    assert "64 tokens" in note
    engine, _ = policy.engine(8)
    prompts = [Prompt("a", "", tuple(b"What is 3 + 4?")), Prompt("b", "", tuple(b"7?"))]
    for p, _, completion in engine.generate(prompts, Sampling(2, 30, 1.0, seed=3)):
        ids = (*prompts[p].token_ids, *completion.token_ids)
        (scores,) = policy.score([ids])
        own = scores[len(prompts[p].token_ids) - 1 :]
        assert own == pytest.approx(completion.logprobs, abs=1e-4)


def test_texts_within_the_original_length_leave_the_model_as_it_is(tmp_path, make_tokenizer):
    policy = scaled(tmp_path, "longrope", make_tokenizer, length=ORIGINAL)
    assert policy.notes == ()
    assert {m.rope_type for m in policy.base.modules() if "rope_type" in vars(m)} == {"longrope"}
