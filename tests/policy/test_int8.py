"""8-bit weights on a CPU: bitsandbytes really computes there, forward, backward and in rollouts."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.base import quantized_layers
from prerlkit.policy.logprobs import Sequences
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Adapter, Model
from prerlkit.rollout.hf import HfEngine
from prerlkit.rollout.protocol import Sampling
from prerlkit.types import Prompt

IDS = tuple(b"What is 12 + 30? It is 42, I think.")


@pytest.fixture
def load(tiny_model):
    """A function that gives a policy with an adapter that matters."""

    def make(quantization: str):
        path = str(tiny_model)
        model = Model(id=path, dtype="bfloat16", device="cpu", quantization=quantization)
        policy = load_policy(path, model, read_tokens(path, model))
        policy.adapters.fresh("a", Adapter(rank=4, alpha=8), seed=1)
        generator = torch.Generator().manual_seed(0)
        for parameter in policy.adapters.trainable:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
        return policy

    return make


def gradient(policy) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs of a text, and what they say to the adapter."""
    packed = Sequences([IDS[:10]], [IDS[10:]], policy.device)
    logprobs_N, _ = policy.logprobs(packed, temperature=1.0, chunk=64, entropy=False)
    grads = torch.autograd.grad(logprobs_N.sum(), policy.adapters.trainable)
    return logprobs_N.detach(), torch.cat([g.float().flatten() for g in grads])


def test_int8_trains_and_samples_on_a_cpu_as_the_16_bit_model_does_roughly(load):
    whole, eighth = load("none"), load("int8")
    assert sum(name.endswith("base_layer") for name in quantized_layers(eighth.base)) == 14  # all of two layers
    (theirs_N, theirs), (ours_N, ours) = gradient(whole), gradient(eighth)
    assert 0 < (theirs_N - ours_N).abs().mean() < 0.2
    assert torch.cosine_similarity(theirs, ours, dim=0) > 0.97
    engine = HfEngine(eighth.base, eighth.tokenizer, (), 8, plain_head=eighth.plain_head)
    prompt = Prompt("p", "", IDS[:10])
    for _, _, completion in engine.generate([prompt], Sampling(3, 5, 1.0, seed=0)):
        packed = Sequences([prompt.token_ids], [completion.token_ids], eighth.device)
        with torch.no_grad():
            scored_N, _ = eighth.logprobs(packed, temperature=1.0, chunk=64, entropy=False)
        assert scored_N.tolist() == pytest.approx(completion.logprobs, abs=0.1)
    again_N, again = gradient(eighth)  # nothing was repacked by sampling
    assert torch.equal(again_N, ours_N)
    assert torch.equal(again, ours)
