"""Thoughts, exploration and drift on steps whose numbers are known."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch

from prerlkit.probes.drift import Drift, DriftSettings
from prerlkit.probes.exploration import Exploration, ExplorationSettings, distinct_ngrams
from prerlkit.probes.self_bleu import self_bleu
from prerlkit.probes.thoughts import Thoughts, ThoughtsSettings
from prerlkit.recipe.model import Adapter
from prerlkit.types import Completion, Group, Prompt, Verdict


def test_thoughts_a_completion_a_thousand_tokens_and_to_the_start(policy, seen, make_group):
    group = make_group("01", texts=("Wait, hold on. Alternatively", "nothing"))  # 2 + 3 tokens
    probe = Thoughts(ThoughtsSettings(start=2))
    first = probe.measure(seen(policy, [group])).metrics
    assert first["probe/thoughts/reflection"] == 1.0
    assert first["probe/thoughts/transition"] == 0.5
    assert first["probe/thoughts/reflection_per_1k"] == pytest.approx(1000 * 2 / 5)
    assert not [name for name in first if name.endswith("_ratio")]
    past = [("warmup", {"probe/thoughts/reflection": 0.0, "probe/thoughts/transition": 0.0}), ("warmup", {})]
    past += [("rl", {"probe/thoughts/reflection": 0.5, "probe/thoughts/transition": 0.0})]
    later = probe.measure(seen(policy, [group], [*past, ("rl", {"probe/thoughts/reflection": 9.0})])).metrics
    assert later["probe/thoughts/reflection_ratio"] == pytest.approx(1.0 / 0.25)
    assert "probe/thoughts/transition_ratio" not in later  # nothing to divide by


def test_exploration_of_groups_by_hand(policy, seen, make_group):
    groups = [
        make_group("0011", 1, answers=("7", "8", "7", None)),  # 7, 8 and none
        make_group("000?", 2, answers=("1", "1", "1", None)),
    ]
    reading = Exploration(ExplorationSettings()).measure(seen(policy, groups))
    assert reading.details == {"answers": [3, 2], "passed": [2, 0]}
    assert reading.metrics["probe/exploration/answers"] == 2.5
    assert reading.metrics["probe/exploration/pass_at_1"] == 0.25
    assert reading.metrics["probe/exploration/pass_at_g"] == 0.5
    assert reading.metrics["probe/exploration/spread"] == 0.25
    unnamed = Exploration(ExplorationSettings()).measure(seen(policy, [make_group("001", 1, texts=("a", " a ", "b"))]))
    assert unnamed.metrics["probe/exploration/answers"] == 2


def test_distinct_ngrams_by_hand():
    completions = [Completion(ids, "", (0.0,) * len(ids), False) for ids in ((1, 2, 1), (1, 2), ())]
    group = Group(Prompt("train/0", "p", (9,)), tuple(completions), (Verdict.of(True),) * 3)
    assert distinct_ngrams(group, 1) == pytest.approx(2 / 5)
    assert distinct_ngrams(group, 2) == pytest.approx(2 / 3)  # 12, 21, 12
    assert distinct_ngrams(group, 4) is None


def test_self_bleu_by_hand():
    # 4/5 · 3/4 · 2/3 · 1/2 = 1/5 for each of the first two; the third shares nothing.
    alike = [(1, 2, 3, 4, 5), (1, 2, 3, 4, 6)]
    assert self_bleu([*alike, (7, 8, 9, 10, 11)]) == pytest.approx(2 * 0.2**0.25 / 3)
    assert self_bleu([(1, 2, 3, 4, 5)] * 3) == pytest.approx(1.0)
    # Clipped at what one reference has: 2/4 and 1/3. Backwards 2/3 and 1/2, and shorter than its reference.
    clipped, short = math.sqrt(1 / 2 * 1 / 3), math.exp(1 - 4 / 3) * math.sqrt(2 / 3 * 1 / 2)
    assert self_bleu([(1, 1, 1, 1), (1, 1, 2)], order=2) == pytest.approx((clipped + short) / 2)
    assert self_bleu([(1, 1, 1, 1), (1, 1, 2)], order=3) == 0.0
    # Fewer than four tokens: as many orders as there are; an empty completion is no reference.
    assert self_bleu([(1, 2), (1, 2), ()]) == pytest.approx(1.0)
    assert self_bleu([(1, 2), ()]) is None


def test_self_bleu_against_each_pair_counted_by_itself():
    chance = random.Random(0)
    group = [tuple(chance.choices((1, 2), k=chance.randint(3, 30))) for _ in range(7)]

    def bleu(y, references):
        logs = 0.0
        for n in range(1, min(4, len(y)) + 1):
            own, *others = (Counter(x[i : i + n] for i in range(len(x) - n + 1)) for x in (y, *references))
            logs += math.log(sum(min(k, max(o[g] for o in others)) for g, k in own.items()) / own.total())
        closest = min(map(len, references), key=lambda r: (abs(r - len(y)), r))
        return math.exp(logs / min(4, len(y)) + min(0.0, 1 - closest / len(y)))

    expected = sum(bleu(y, group[:i] + group[i + 1 :]) for i, y in enumerate(group)) / len(group)
    assert 0.5 < expected < 1.0
    assert self_bleu(group) == pytest.approx(expected)


def logits_after(policy, prompt, completion, temperature=0.7):
    whole = torch.tensor([prompt + completion])
    return policy.base(input_ids=whole).logits[0, len(prompt) - 1 : -1].double() / temperature  # [T, V]


@torch.no_grad()
def test_exact_entropy_is_that_of_the_distributions(policy, seen, make_group):
    group = make_group("01")
    reading = Exploration(ExplorationSettings(exact_entropy=True)).measure(seen(policy, [group]))
    rows = [logits_after(policy, group.prompt.token_ids, c.token_ids).log_softmax(-1) for c in group.completions]
    expected = torch.cat([-(row.exp() * row).sum(-1) for row in rows]).mean()
    assert reading.metrics["probe/exploration/entropy"] == pytest.approx(float(expected), abs=1e-4)


@torch.no_grad()
def test_drift_is_to_the_model_without_adapters(policy, seen, make_group):
    groups = [make_group("01", 1), make_group("11", 2), make_group("00", 3)]
    reading = Drift(DriftSettings(groups=2)).measure(seen(policy, groups))
    ratios = []
    for group in groups[:2]:
        for y in group.completions:
            own = logits_after(policy, group.prompt.token_ids, y.token_ids).log_softmax(-1)
            with policy.adapters.bare():
                base = logits_after(policy, group.prompt.token_ids, y.token_ids).log_softmax(-1)
            index = torch.tensor(y.token_ids)[:, None]
            ratios.append((own - base).gather(1, index)[:, 0])
    assert float(torch.cat(ratios).abs().max()) > 0.01  # the adapter does change something
    assert reading.metrics["probe/drift/kl_sequence"] == pytest.approx(
        float(sum(r.sum() for r in ratios)) / 4, abs=1e-3
    )
    k3 = torch.cat(ratios).neg().exp() - 1 + torch.cat(ratios)
    assert reading.metrics["probe/drift/kl"] == pytest.approx(float(k3.mean()), abs=1e-4)
    assert reading.metrics["probe/drift/kl_stage"] == reading.metrics["probe/drift/kl"]  # a first stage
    policy.adapters.continue_top("rl")
    reading = Drift(DriftSettings(groups=2)).measure(seen(policy, groups))
    assert reading.metrics["probe/drift/kl_stage"] == 0.0
    assert reading.metrics["probe/drift/kl"] > 1e-4
    deltas = {
        name: module.get_delta_weight("stage0")
        for name, module in policy.base.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert reading.metrics["probe/drift/norm"] == pytest.approx(math.sqrt(sum(d.norm() ** 2 for d in deltas.values())))
    by_module = reading.details["by_module"]
    assert sorted(by_module) == sorted(deltas)
    for name, delta in deltas.items():
        assert by_module[name]["norm"] == pytest.approx(float(delta.norm()), rel=1e-4)
    assert "probe/drift/overlap_inputs" not in reading.metrics  # nothing below


@pytest.mark.parametrize("way", ["stack", "merge"])
def test_a_second_stage_is_held_against_the_first(policy, move, seen, make_group, way):
    if way == "merge":
        policy.adapters.merge_top()
    policy.adapters.fresh("second", Adapter(rank=2, alpha=4, rslora=True), seed=3)
    fresh = Drift(DriftSettings()).measure(seen(policy, [make_group("01")]))
    assert fresh.metrics["probe/drift/norm"] == 0.0
    assert "probe/drift/overlap_inputs" not in fresh.metrics  # B = 0 has no directions yet
    first, second = policy.adapters.state("rl"), policy.adapters.state("second")
    policy.adapters.load_state(
        "second",
        {  # the first two directions of the stage below, pushed back
            key: (first[key][:2] if "lora_A" in key else -first[key][:, :2]).clone() for key in second
        },
    )
    reading = Drift(DriftSettings()).measure(seen(policy, [make_group("01")]))
    assert reading.metrics["probe/drift/overlap_inputs"] == pytest.approx(1.0, abs=1e-4)
    assert reading.metrics["probe/drift/overlap_outputs_max"] == pytest.approx(1.0, abs=1e-4)
    name = "model.layers.0.mlp.up_proj"
    a, b = (first[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
    one, two = b @ a, -(b[:, :2] @ a[:2])
    expected = float((one * two).sum() / (one.norm() * two.norm()))
    assert expected < 0
    assert reading.details["by_module"][name]["overlap"]["cosine"] == pytest.approx(expected, abs=1e-4)
    assert reading.details["by_module"][name]["norm"] == pytest.approx(float(two.norm()) * 4 / math.sqrt(2), rel=1e-4)
