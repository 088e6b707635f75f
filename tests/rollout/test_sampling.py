"""Drawing tokens: the exact distribution, greedy, and what top-p and top-k do to samples and to log-probs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from prerlkit.rollout.sampling import sample_tokens

CHI2_999_DF9 = 27.877
"""99.9 % quantile of chi-square with 9 degrees of freedom."""


def chi_square(tokens: torch.Tensor, probs: torch.Tensor) -> float:
    counts = torch.bincount(tokens, minlength=len(probs)).double()
    expected = probs.double() * len(tokens)
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
def test_samples_follow_the_softmax_exactly(temperature):
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, 1.5, 0.2, -2.0, 0.9])
    uniforms = torch.from_numpy(np.random.default_rng(7).random(50_000, dtype=np.float32))
    tokens, logprobs = sample_tokens(logits.expand(50_000, -1), uniforms, temperature)
    probs = (logits / temperature).softmax(-1)
    assert chi_square(tokens, probs) < CHI2_999_DF9
    assert chi_square(tokens, probs.roll(1)) > 1000  # the statistic can fail
    torch.testing.assert_close(logprobs, probs.log()[tokens])


def test_a_large_vocabulary_in_bfloat16_keeps_its_tail():
    """Half the mass on one token, half spread over 49,151: a cumulative sum in bfloat16 would lose the spread."""
    size = 49_152
    logits = torch.full((size,), 0.0)
    logits[-1] = math.log(size - 1)
    uniforms = torch.from_numpy(np.random.default_rng(3).random(2_000, dtype=np.float32))
    tokens, _ = sample_tokens(logits.to(torch.bfloat16).expand(2_000, -1), uniforms, 1.0)
    peak = (tokens == size - 1).double().mean().item()
    assert abs(peak - 0.5) < 4 * 0.5 / math.sqrt(2_000)
    spread = tokens[tokens != size - 1]
    assert spread.double().mean().item() == pytest.approx(size / 2, rel=0.05)


def test_greedy_takes_the_likeliest_with_its_logprob_at_temperature_one():
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 0.0]])
    tokens, logprobs = sample_tokens(logits, torch.zeros(2), None)
    assert tokens.tolist() == [1, 0]
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[torch.arange(2), tokens])


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0 - 2**-24])
def test_no_draw_leaves_the_vocabulary_or_hits_an_impossible_token(uniform):
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    tokens, _ = sample_tokens(logits, torch.tensor([uniform]), 1.0)
    assert tokens.item() in (1, 2)


def test_top_k_and_top_p_cut_what_is_drawn_but_not_the_logprobs():
    probs = torch.tensor([0.4, 0.3, 0.2, 0.1])
    uniforms = torch.from_numpy(np.random.default_rng(1).random(20_000, dtype=np.float32))
    for cut, kept in (({"top_k": 2}, 2), ({"top_p": 0.6}, 2), ({"top_p": 0.75}, 3), ({"top_k": 3, "top_p": 0.5}, 2)):
        tokens, logprobs = sample_tokens(probs.log().expand(20_000, -1), uniforms, 1.0, **cut)
        assert set(tokens.tolist()) == set(range(kept))
        share = (tokens == 0).double().mean().item()
        assert share == pytest.approx(0.4 / probs[:kept].sum().item(), abs=0.02)
        torch.testing.assert_close(logprobs, probs.log()[tokens])


def test_logits_that_are_nan_are_named():
    from prerlkit.errors import PrerlkitError
    from prerlkit.rollout.sampling import refuse_nan, sample_tokens

    logits_BV = torch.randn(2, 600)
    logits_BV[1, 7] = float("nan")
    tokens_B, logprobs_B = sample_tokens(logits_BV, torch.tensor([0.5, 0.5]), 1.0)
    assert int(tokens_B.max()) < 600
    refuse_nan(logprobs_B[0].item())
    with pytest.raises(PrerlkitError, match="logits became NaN"):
        refuse_nan(logprobs_B[1].item())
