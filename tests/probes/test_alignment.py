"""Gradient alignment against the plainest computation: one completion at a time, parameters in one vector."""

from __future__ import annotations

import pytest
import torch

from prerlkit.policy.policy import make_policy
from prerlkit.policy.tokens import Tokens
from prerlkit.probes.alignment import Alignment, AlignmentSettings, layer_of
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Memory


def brute_force(policy, chosen, space: str, temperature: float) -> dict[str, torch.Tensor]:
    """∇ Σ w log P(y) or log P(y|x) by parameter name; `chosen`: (prompt, completion, weight) each."""
    named = {name: p for name, p in policy.base.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    policy.base.eval()
    for prompt, completion, weight in chosen:
        context = (policy.start.id,) if space == "pretrain" else prompt
        logits_TV = policy.base(input_ids=torch.tensor([context + completion])).logits[0].float() / temperature
        logprobs_TV = logits_TV.log_softmax(-1)
        whole = sum(logprobs_TV[len(context) - 1 + i, token] for i, token in enumerate(completion))
        gradients = torch.autograd.grad(weight * whole, list(named.values()))
        for name, gradient in zip(named, gradients, strict=True):
            total[name] += gradient
    return total


def cosine(one: dict, other: dict, wanted=lambda name: True) -> float:
    x, y = (torch.cat([g.flatten() for name, g in each.items() if wanted(name)]) for each in (one, other))
    return float(torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=0))


def sets(groups, weight: str):
    """What the probe should choose, from verdicts alone: (group, completion, advantage) with GRPO's sign."""
    found = {"all": [], "positive": [], "negative": []}
    for group in groups:
        scores = [v.score for v in group.verdicts if v.judged]
        mean = sum(scores) / len(scores)
        std = (sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)) ** 0.5
        for completion, verdict in zip(group.completions, group.verdicts, strict=True):
            if not verdict.judged:
                continue
            advantage = (verdict.score - mean) / (std + 1e-6)
            one = (group.prompt.token_ids, completion.token_ids, advantage if weight == "advantage" else 1.0)
            found["all"].append(one)
            if advantage:
                found["positive" if advantage > 0 else "negative"].append(one)
    return found


@pytest.mark.parametrize("weight", ["uniform", "advantage"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_alignment_is_that_of_brute_force_whole_by_layer_by_factor_and_by_sign(
    tiny_policy, move, seen, make_group, weight, checkpointing
):
    policy = make_policy(
        tiny_policy.base,
        Tokens(None, (256,), tiny_policy.start),
        Memory(gradient_checkpointing=checkpointing),
        plain_head=True,
        share_contexts=True,
    )
    policy.adapters.fresh("below", Adapter(rank=2, alpha=4), seed=5)  # frozen: no part of any gradient
    move(policy, seed=7)
    policy.adapters.fresh("rl", Adapter(rank=3, alpha=6, dropout=0.5), seed=0)
    move(policy)
    groups = [make_group("0110", 1), make_group("1?00", 2), make_group("000", 3), make_group("01", 4)]
    probe = Alignment(AlignmentSettings(groups=3, weight=weight))
    reading = probe.measure(seen(policy, groups))

    expected = sets(groups[:3], weight)
    assert reading.details["completions"] == {"all": 10, "positive": 3, "negative": 4}
    for kind, chosen in expected.items():
        pretrain, conditional = (brute_force(policy, chosen, space, 0.7) for space in ("pretrain", "conditional"))
        name = "probe/alignment" if kind == "all" else f"probe/alignment/{kind}"
        assert reading.metrics[name] == pytest.approx(cosine(pretrain, conditional), abs=1e-5)
        assert abs(reading.metrics[name]) < 0.99  # the two spaces differ here, so that mixing them up would show
        layers = reading.details["by_layer"][kind]
        assert sorted(layers) == ["model.layers.0", "model.layers.1"]
        for layer, value in layers.items():
            assert value == pytest.approx(cosine(pretrain, conditional, lambda n, at=layer: at + "." in n), abs=1e-5)
        for factor, value in reading.details["by_factor"][kind].items():
            assert value == pytest.approx(
                cosine(pretrain, conditional, lambda n, f=factor: f".lora_{f}." in n), abs=1e-5
            )
        for module, value in reading.details["by_module"][kind].items():
            assert value == pytest.approx(cosine(pretrain, conditional, lambda n, m=module: f".{m}." in n), abs=1e-5)
        if kind == "all":
            norms = [sum(float(g.square().sum()) for g in each.values()) ** 0.5 for each in (pretrain, conditional)]
            assert reading.metrics["probe/alignment/norm_ratio"] == pytest.approx(norms[0] / norms[1], rel=1e-5)


def test_a_fresh_adapter_is_aligned_by_b_alone(tiny_policy, seen, make_group):
    """B = 0, so that A has no gradient yet: its cosine is unknown, not 0, and the whole is B's."""
    tiny_policy.adapters.fresh("rl", Adapter(rank=3, alpha=6), seed=0)
    reading = Alignment(AlignmentSettings()).measure(seen(tiny_policy, [make_group("01")]))
    factors = reading.details["by_factor"]["all"]
    assert factors["A"] is None
    assert factors["B"] == pytest.approx(reading.metrics["probe/alignment"], abs=1e-12)


def test_without_signal_only_the_whole_is_told(policy, seen, make_group):
    reading = Alignment(AlignmentSettings()).measure(seen(policy, [make_group("00")]))
    assert sorted(reading.metrics) == ["probe/alignment", "probe/alignment/norm_ratio"]
    nothing = Alignment(AlignmentSettings()).measure(seen(policy, [make_group("??")]))
    assert nothing.metrics == {}
    weighted = Alignment(AlignmentSettings(weight="advantage")).measure(seen(policy, [make_group("00")]))
    assert weighted.metrics == {}


def test_measuring_leaves_gradients_generators_and_modes_alone(policy, seen, make_group):
    parameters = policy.adapters.trainable
    for i, parameter in enumerate(parameters):
        parameter.grad = None if i % 3 == 0 else torch.full_like(parameter, float(i))
    before = [parameter.grad for parameter in parameters]
    weights = [parameter.detach().clone() for parameter in parameters]
    state = torch.get_rng_state()
    Alignment(AlignmentSettings()).measure(seen(policy, [make_group("01")]))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(now is then for now, then in zip([p.grad for p in parameters], before, strict=True))
    assert all(g is None or bool((g == i).all()) for i, g in enumerate(before))
    assert all(torch.equal(p, w) for p, w in zip(parameters, weights, strict=True))
    assert not any(module.training for module in policy.base.modules())


def test_layers_of_other_families():
    assert layer_of("model.layers.11.mlp.up_proj.lora_A.stage0.weight") == "model.layers.11"
    assert layer_of("transformer.h.2.attn.c_attn.lora_B.stage1.weight") == "transformer.h.2"
    assert layer_of("model.projector.lora_A.stage0.weight") == "model.projector"
