"""KL at a stage's end: by hand on a tiny model, to the right policy, exact on resume, and in every record."""

from __future__ import annotations

import json
import math

import pytest
import torch

from prerlkit.evaluation.during_run import evaluate
from prerlkit.evaluation.request import EvalSettings
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Memory
from prerlkit.runs.run import Run
from prerlkit.train.distributed import ALONE
from prerlkit.train.stage_kl import StageKl, chosen_rows
from prerlkit.types import Completion, Group, Prompt, Verdict

ADAPTER = Adapter(rank=2, alpha=4)


def group(prompt: str, *texts: str) -> Group:
    completions = tuple(Completion(tuple(text.encode()), text, (0.0,) * len(text), False) for text in texts)
    ids = tuple(prompt.encode())
    return Group(Prompt(prompt, prompt, ids), completions, tuple(Verdict.of(True) for _ in texts))


GROUPS = (group("2 + 3 =", "5", "wait, 6"), group("4 =", "", "44"))


def stage_kl(policy, notes=None, **memory) -> StageKl:
    return StageKl(policy, Memory(**memory), ALONE, (notes if notes is not None else []).append)


def shake(policy, seed: int) -> None:
    """Move the trainable adapter away from the identity."""
    torch.manual_seed(seed)
    for parameter in policy.adapters.trainable:
        parameter.data.add_(0.3 * torch.randn_like(parameter))


def plain_logprobs(policy, temperature: float) -> torch.Tensor:
    """Every token of GROUPS behind its prompt by the model's own forward, one completion at a time."""
    found = []
    for one in GROUPS:
        for completion in one.completions:
            if completion.token_ids:
                ids = torch.tensor([one.prompt.token_ids + completion.token_ids])
                with torch.no_grad():
                    scores = (policy.base(input_ids=ids).logits[0].double() / temperature).log_softmax(-1)
                start = len(one.prompt.token_ids)
                found += [scores[start - 1 + t, token] for t, token in enumerate(completion.token_ids)]
    return torch.stack(found)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_it_is_the_mean_of_k3_over_tokens_to_what_lies_below_the_adapter(tiny_policy, temperature):
    tiny_policy.adapters.fresh("warmup", ADAPTER, 1)
    shake(tiny_policy, 1)
    before = plain_logprobs(tiny_policy, temperature)
    tiny_policy.adapters.fresh("rl", ADAPTER, 2)
    assert stage_kl(tiny_policy).measure(GROUPS, temperature) == pytest.approx(0.0, abs=1e-9)
    shake(tiny_policy, 2)
    after = plain_logprobs(tiny_policy, temperature)
    ratio = (before - after).exp()
    by_hand = float((ratio - 1 - (before - after)).mean())
    assert by_hand > 0.01
    assert stage_kl(tiny_policy).measure(GROUPS, temperature) == pytest.approx(by_hand, rel=1e-4)
    assert torch.equal(plain_logprobs(tiny_policy, temperature), after)


def test_the_estimate_tends_to_the_true_kl(tiny_policy):
    """One token behind one prompt: the sum over the vocabulary, weighted by π, is the exact KL."""
    tiny_policy.adapters.fresh("warmup", ADAPTER, 1)
    shake(tiny_policy, 3)
    ids = torch.tensor([list(b"4 =")])
    with torch.no_grad():
        after = tiny_policy.base(input_ids=ids).logits[0, -1].double().log_softmax(-1)
        with tiny_policy.adapters.before_stage():
            before = tiny_policy.base(input_ids=ids).logits[0, -1].double().log_softmax(-1)
    exact = float((after.exp() * (after - before)).sum())
    generator = torch.Generator().manual_seed(0)
    tokens = torch.multinomial(after.exp(), 4000, replacement=True, generator=generator).tolist()
    completions = tuple(Completion((token,), "x", (0.0,), False) for token in tokens)
    one = Group(Prompt("a", "4 =", tuple(b"4 =")), completions, tuple(Verdict.of(True) for _ in tokens))
    assert stage_kl(tiny_policy, microbatch_tokens=100000).measure((one,), 1.0) == pytest.approx(exact, rel=0.1)


def test_a_continued_adapter_is_compared_with_what_it_began_as(tiny_policy):
    adapters = tiny_policy.adapters
    adapters.fresh("warmup", ADAPTER, 1)
    shake(tiny_policy, 1)
    before = plain_logprobs(tiny_policy, 1.0)
    adapters.continue_top("rl")
    assert stage_kl(tiny_policy).measure(GROUPS, 1.0) == 0.0
    shake(tiny_policy, 2)
    digest, after = adapters.digest("rl"), plain_logprobs(tiny_policy, 1.0)
    by_hand = float(((before - after).exp() - 1 - (before - after)).mean())
    assert stage_kl(tiny_policy).measure(GROUPS, 1.0) == pytest.approx(by_hand, rel=1e-4)
    assert adapters.digest("rl") == digest
    assert all(parameter.requires_grad for parameter in adapters.trainable)
    assert len(adapters.trainable) > 0


def test_completions_come_evenly_from_all_prompts_up_to_a_number_of_tokens():
    groups = (group("a", "11", "22", "33"), group("b", "44", "", "55"))

    def texts(most):
        return [bytes(row.completion).decode() for row in chosen_rows(groups, most)]

    assert texts(100) == ["11", "44", "22", "33", "55"]
    assert texts(6) == ["11", "44", "22"]
    assert texts(5) == ["11", "44"]
    assert texts(1) == ["11"]  # one is always taken
    assert texts(0) == ["11"]
    assert list(chosen_rows((group("a", "", ""),), 100)) == []
    assert list(chosen_rows((), 100)) == []


def test_without_memory_for_one_sequence_it_is_left_out(tiny_policy, monkeypatch):
    tiny_policy.adapters.fresh("warmup", ADAPTER, 1)
    notes = []
    measuring = stage_kl(tiny_policy, notes, microbatch_tokens=64)

    def full(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr(measuring, "_kl", full)
    assert measuring.measure(GROUPS, 1.0) is None
    assert "32 tokens at once" in notes[0]
    assert "it is not measured" in notes[-1]


def test_an_evaluation_counts_thoughts_and_lengths_of_its_samples_and_measures_them():
    own = {"greedy": group("a", "hmm, hmm"), "sampled": group("a", "wait", "check that wait alternatively wait")}
    measured = []

    def sample_and_judge(prompts, sampling):
        return [own["greedy" if sampling.temperature is None else "sampled"]]

    def measure_kl(groups, temperature):
        measured.append((groups, temperature))
        return 0.25

    prompts = [own["greedy"].prompt]
    settings = EvalSettings(samples=2, pass_at=(1, 2), temperature=0.8)
    result = evaluate(sample_and_judge, prompts, settings, name="after rl", step=3, measure_kl=measure_kl)
    assert (result.samples, result.sample_tokens_mean, result.tokens_mean) == (2, 19.0, 46 / 3)
    assert result.thoughts == {"reflection": 1.5, "transition": 0.5, "verification": 0.5, "decomposition": 0.0}
    assert (result.kl, measured) == (0.25, [([own["sampled"]], 0.8)])
    greedy = evaluate(sample_and_judge, prompts, EvalSettings(), name="after rl", step=3, measure_kl=measure_kl)
    assert (greedy.samples, greedy.sample_tokens_mean, greedy.kl) == (0, None, None)
    assert greedy.thoughts["reflection"] == 2.0
    assert len(measured) == 1


@pytest.mark.parametrize("reincarnation", ["stack", "merge", "continue"])
def test_a_resumed_run_measures_what_an_uninterrupted_one_does(go, same_run, tiny_recipe, tmp_path, reincarnation):
    recipe = tiny_recipe(evaluation={"prompts": 3, "samples": 2, "pass_at": [1, 2], "greedy": False, "every": 3})
    recipe["stages"][1] |= {"steps": 4, "reincarnation": reincarnation}
    straight, _ = go(recipe, tmp_path / "straight")
    for stop_after in (2, 4, 6, None):  # at a stage's end, within the second stage, at its end
        parts, _ = go(recipe, tmp_path / "parts", stop_after=stop_after, existing="resume")
    same_run(tmp_path / "straight", tmp_path / "parts")
    assert straight.effects == parts.effects
    assert [(one.stage, one.kl_from) for one in parts.effects] == [
        ("warmup", "held-out samples"),
        ("rl", "held-out samples"),
    ]
    assert all(one.kl > 1e-5 for one in parts.effects)
    assert Run.open(tmp_path / "parts").effects == parts.effects
    run = Run.open(tmp_path / "straight")
    assert ["stage/kl" in step for step in run.steps] == [False, True, False, False, False, True]
    assert [(line["name"], line["kl"] is None) for line in run.evaluations] == [
        ("before", True),
        ("after warmup", False),
        ("step 5", False),
        ("after rl", False),
    ]


def test_greedy_recipes_measure_the_last_steps_samples_and_every_record_has_it(go, lines, tiny_recipe, tmp_path):
    from prerlkit.train.callbacks import SilentCallback

    class Ends(SilentCallback):
        effects = ()

        def on_stage_end(self, effect):
            self.effects += (effect,)

    ends = Ends()
    summary, _ = go(tiny_recipe(), tmp_path / "out", listener=ends)
    assert summary.effects == ends.effects
    saved = json.loads((tmp_path / "out" / "summary.json").read_text())
    for stage, effect, line in zip(saved["stages"], ends.effects, (1, 3), strict=True):
        assert effect.kl_from == "the last step's samples"
        assert effect.kl == lines(tmp_path / "out" / "metrics.jsonl")[line]["stage/kl"]
        assert math.isfinite(effect.kl)
        assert stage["effect"] == effect.to_json()
        assert stage["effect"]["changes"]["eval/accuracy"].keys() == {"before", "after"}


def test_a_stage_that_its_rule_ends_is_measured_in_its_last_step(go, lines, tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    recipe["stages"][0] |= {"steps": 5, "until": {"metric": "reward/mean", "above": -1.0, "window": 2}}
    summary, _ = go(recipe, tmp_path / "out")
    assert ["stage/kl" in line for line in lines(tmp_path / "out" / "metrics.jsonl")] == [False, True, False, True]
    assert [one.steps for one in summary.effects] == [2, 2]
