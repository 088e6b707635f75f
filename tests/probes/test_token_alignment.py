"""Token alignment against plain autograd, the sorting into kinds and places, and weights restored to the bit."""

from __future__ import annotations

import pytest
import torch

from prerlkit.errors import UsageError
from prerlkit.probes.passes import untrained
from prerlkit.probes.token_alignment import (
    KINDS,
    TokenAlignment,
    TokenAlignmentSettings,
    choose,
    kind_of,
    place_of,
)
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Recipe
from prerlkit.train.validate import check_settings
from prerlkit.types import Completion, Group, Prompt, Verdict


def plain(policy, context, completion, position) -> tuple[float, torch.Tensor]:
    """log π(y_t | context, y_<t) at temperature 0.7, and its gradient on the adapter as one vector."""
    ids = torch.tensor([[*context, *completion[:position]]])
    logprob = (policy.base(input_ids=ids).logits[0, -1].float() / 0.7).log_softmax(-1)[completion[position]]
    gradients = torch.autograd.grad(logprob, policy.adapters.trainable, allow_unused=True)
    pairs = zip(gradients, policy.adapters.trainable, strict=True)
    return float(logprob.detach()), torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def cosine(one, other) -> float:
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def test_every_token_is_measured_as_plain_autograd_does(policy, seen, make_group):
    groups = [make_group("01", 1), make_group("1", 2)]
    measured = TokenAlignment(TokenAlignmentSettings(tokens=100, untrained=False)).measure(seen(policy, groups))
    start, found, others, gains = (policy.start.id,), [], [], []
    for one, other in (groups, groups[::-1]):
        for y in (completion.token_ids for completion in one.completions):
            for t in range(len(y)):
                own = plain(policy, one.prompt.token_ids, y, t)
                alone = plain(policy, start, y, t)
                found.append(cosine(alone[1], own[1]))
                others.append(cosine(plain(policy, other.prompt.token_ids, y, t)[1], own[1]))
                gains.append(own[0] - alone[0])
    assert len(found) == 2 + 3 + 2
    assert measured.details["all"]["tokens"] == 7
    assert measured.metrics["probe/token_alignment"] == pytest.approx(sum(found) / 7, abs=1e-5)
    assert measured.metrics["probe/token_alignment/other_prompt"] == pytest.approx(sum(others) / 7, abs=1e-5)
    for kind in KINDS:
        own = [value for value, gain in zip(found, gains, strict=True) if kind_of(gain) == kind]
        name = f"probe/token_alignment/kind/{kind}"
        assert (name in measured.metrics) == bool(own)
        if own:
            assert measured.metrics[name] == pytest.approx(sum(own) / len(own), abs=1e-5)
    assert measured.metrics["probe/token_alignment/position/from_0"] == measured.metrics["probe/token_alignment"]
    assert "probe/token_alignment/untrained" not in measured.metrics


def test_without_a_prompt_that_differs_from_the_start_token_the_two_spaces_are_one(policy, seen):
    """An identity: behind x = s both gradients are the same, and the prompt changes no token."""
    completion = Completion((7, 9), "x", (0.0, 0.0), False)
    group = Group(Prompt("a", "p", (policy.start.id,)), (completion,), (Verdict.of(True),))
    found = TokenAlignment(TokenAlignmentSettings(untrained=False)).measure(seen(policy, [group]))
    assert found.metrics["probe/token_alignment"] == pytest.approx(1.0, abs=1e-6)
    assert found.metrics["probe/token_alignment/kind/same"] == pytest.approx(1.0, abs=1e-6)
    assert found.details["all"]["norm_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert "probe/token_alignment/other_prompt" not in found.metrics  # there is none


def test_untrained_weights_are_measured_once_in_a_run_and_restored_to_the_bit(policy, seen, make_group):
    before = {name: parameter.detach().clone() for name, parameter in policy.base.named_parameters()}
    state = torch.get_rng_state()
    probe = TokenAlignment(TokenAlignmentSettings(tokens=3))
    found = probe.measure(seen(policy, [make_group("01", 1), make_group("1", 2)]))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(parameter, before[name]) for name, parameter in policy.base.named_parameters())
    assert all(parameter.grad is None for parameter in policy.adapters.trainable)
    assert found.metrics["probe/token_alignment/untrained"] != found.metrics["probe/token_alignment"]
    later = probe.measure(seen(policy, [make_group("01", 1)], [("rl", found.metrics)]))
    assert "probe/token_alignment/untrained" not in later.metrics


def test_untrained_is_random_matrices_and_adapters_that_add_nothing(policy):
    norm = policy.base.model.norm.weight.detach().clone()
    with untrained(policy.base):
        weight = policy.base.model.embed_tokens.weight
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert torch.equal(policy.base.model.norm.weight, norm)
        factors = [p for name, p in policy.base.named_parameters() if ".lora_B." in name]
        assert factors
        assert not any(bool(factor.any()) for factor in factors)
    with pytest.raises(ValueError, match="inside"), untrained(policy.base):
        raise ValueError("inside")
    assert any(bool(factor.any()) for factor in factors)


@pytest.mark.parametrize(
    ("gain", "kind"),
    [
        (-3, "lowered"),
        (-0.11, "lowered"),
        (-0.09, "same"),
        (0, "same"),
        (0.09, "same"),
        (0.9, "raised"),
        (3, "decided"),
    ],
)
def test_kinds_by_what_the_prompt_adds(gain, kind):
    assert kind_of(gain) == kind


def test_places():
    found = [place_of(t) for t in (0, 3, 4, 15, 16, 255, 256, 9999)]
    assert found == ["from_0", "from_0", "from_4", "from_4", "from_16", "from_64", "from_256", "from_256"]


def test_tokens_are_taken_evenly_and_know_their_thoughts_and_their_other_prompt(policy, seen):
    def ids(text: str) -> tuple[int, ...]:
        return tuple(policy.tokenizer(text)["input_ids"])

    def group(prompt: str, *texts: str) -> Group:
        made = tuple(Completion(ids(text), text, (0.0,) * len(text), False) for text in texts)
        return Group(Prompt(prompt, prompt, ids(prompt)), made, (Verdict.of(True),) * len(texts))

    groups = [group("a", "4 wait, 5"), group("a", ""), group("b", "12")]
    every = choose(seen(policy, groups), 3, 100)
    assert policy.tokenizer.decode([t.completion[t.position] for t in every if t.in_thought]) == "wait"
    assert [t.other_prompt for t in every] == [ids("b")] * 9 + [ids("a")] * 2
    assert [t.position for t in choose(seen(policy, groups), 3, 4)] == [0, 2, 5, 8]
    assert [t.other_prompt for t in choose(seen(policy, groups), 2, 2)] == [None, None]
    assert choose(seen(policy, groups[1:2]), 1, 4) == []


def test_a_base_whose_weights_cannot_be_replaced_is_refused_before_it_is_loaded(tiny_recipe):
    recipe = tiny_recipe(probes=["token_alignment"], adapter={"rank": 2, "dora": True})
    recipe["stages"] = recipe["stages"][:1]
    with pytest.raises(UsageError, match="random ones"):
        check_settings(Recipe.model_validate(recipe), None)
    recipe["probes"] = [{"name": "token_alignment", "untrained": False}]
    check_settings(Recipe.model_validate(recipe), None)


def test_a_fresh_adapter_is_measured_by_its_b_factors(tiny_policy, seen, make_group):
    tiny_policy.adapters.fresh("rl", Adapter(rank=3, alpha=6), seed=0)
    probe = TokenAlignment(TokenAlignmentSettings(tokens=2, untrained=False))
    assert -1 <= probe.measure(seen(tiny_policy, [make_group("01")])).metrics["probe/token_alignment"] <= 1
