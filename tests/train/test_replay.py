"""Replay: which earlier groups a step trains on again, by which weights, and that a run with it resumes exactly."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from prerlkit.plan.trace import trace
from prerlkit.recipe.rollout import Rollout
from prerlkit.recipe.schema import Recipe
from prerlkit.train.replay import ReplayBuffer, pack, replay_metrics, unpack
from prerlkit.types import Completion, Group, Prompt, Verdict

PROMPTS = [Prompt(f"train/{i}", str(i), (i,)) for i in range(20)]


def group(number: int, signal: bool = True) -> Group:
    completions = tuple(Completion((1, number), "text", (-0.1, -1.0 / 3.0), truncated=bool(i)) for i in range(2))
    return Group(PROMPTS[number], completions, (Verdict.of(signal, "why", more=1), Verdict.of(False)))


def held(buffer: ReplayBuffer, step: int) -> list[tuple[int, int]]:
    """Number and age of each group that may be replayed."""
    return [(one.prompt.token_ids[0], one.age) for one in buffer.newest(step, 99)]


def test_the_newest_groups_with_signal_are_replayed_once_and_the_old_are_forgotten():
    buffer = ReplayBuffer(PROMPTS, max_age=2)
    assert buffer.newest(0, 3) == ()
    buffer.remember(0, 0, [group(0), group(1, signal=False), group(2)])
    assert held(buffer, 1) == [(0, 1), (2, 1)]
    buffer.remember(1, 1, [group(3)])
    assert held(buffer, 2) == [(3, 1), (2, 2)]
    buffer.remember(2, 1, [group(4)])
    assert held(buffer, 3) == [(4, 1)]  # 3 was given out, 2 is too old


def test_a_step_that_is_done_again_finds_what_it_found():
    """A step that fails is saved at its start, after its source has gone on."""
    buffer = ReplayBuffer(PROMPTS, max_age=4)
    buffer.remember(0, 0, [group(0), group(1)])
    before = pack(buffer.newest(1, 9))
    buffer.remember(1, 2, [group(2)])
    assert buffer.state(1).plain == before.plain
    buffer.remember(1, 1, [group(3)])
    assert held(buffer, 2) == [(3, 1), (1, 2)]


def test_what_a_checkpoint_keeps_is_what_was_there_to_the_last_bit():
    buffer = ReplayBuffer(PROMPTS, max_age=4)
    buffer.remember(0, 0, [group(0), group(5)])
    found = buffer.newest(1, 2)
    again = ReplayBuffer(PROMPTS, max_age=4)
    again.restore(1, buffer.state(1))
    assert again.newest(1, 2) == found
    assert found[0].completions[0].logprobs == (-0.1, -1.0 / 3.0)
    assert found[0].completions[0].text == ""  # training needs none
    assert unpack(pack(()), {}) == ()


def test_shares_and_ages():
    buffer = ReplayBuffer(PROMPTS, max_age=4)
    buffer.remember(0, 0, [group(0)])
    buffer.remember(1, 0, [group(1)])
    assert replay_metrics(buffer.newest(2, 2), 8) == {"replay/share": 0.25, "replay/age": 1.5}
    assert replay_metrics((), 8) == {"replay/share": 0.0, "replay/age": 0.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replay": 0.0}, "greater than 0"),
        ({"replay": 1.0}, "less than 1"),
        ({"replay": 0.01}, "0.01 of 8 groups are 0"),
        ({"replay": 0.99}, "0.99 of 8 groups are 8"),
        ({"replay": 0.5, "importance_cap": None}, "needs importance weights"),
        ({"replay": {"share": 0.5, "max_age": 0}}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(changes, words):
    with pytest.raises(ValidationError, match=words):
        Rollout.model_validate(changes)


def test_it_is_off_by_default_and_brings_its_cap():
    assert Rollout().replay is None
    assert (Rollout().importance, Rollout().replayed) == (None, 0)
    replaying = Rollout.model_validate({"replay": 0.25})
    assert (replaying.importance, replaying.replayed) == (2.0, 2)


def test_a_supervised_stage_inherits_none(tiny_recipe):
    sft = {"name": "start", "objective": "sft", "demonstrations": {"completion": "{answer}"}, "steps": 1}
    recipe = tiny_recipe(rollout={**tiny_recipe()["rollout"], "prompts_per_step": 4, "replay": 0.5})
    recipe["stages"] = [{**sft, "learning_rate": 1e-3}, *recipe["stages"]]
    assert [stage.rollout.replayed for stage in Recipe.model_validate(recipe).stages] == [0, 2, 2]


def replaying(recipe: dict, **changes) -> dict:
    """The tiny recipe with four prompts per step, half of them replayed, three steps in each stage."""
    stages = [{**stage, "steps": 3} for stage in recipe["stages"]]
    rollout = {**recipe["rollout"], "prompts_per_step": 4, "replay": 0.5, **changes}
    return {**recipe, "stages": stages, "rollout": rollout, "evaluation": {"when": []}}


@pytest.mark.parametrize("changes", [{}, {"refill": 2}], ids=["alone", "with refill"])
def test_a_run_with_replay_resumes_to_the_byte_and_begins_each_stage_without(
    go, same_run, lines, tiny_recipe, tmp_path, changes
):
    recipe = replaying(tiny_recipe(), **changes)
    go(recipe, tmp_path / "straight")
    for stop in (2, 3, 5):
        go(recipe, tmp_path / f"parts{stop}", stop_after=stop)
        go(recipe, tmp_path / f"parts{stop}", existing="resume")
        same_run(tmp_path / "straight", tmp_path / f"parts{stop}")
    metrics = lines(tmp_path / "straight" / "metrics.jsonl")
    shares = [step["replay/share"] for step in metrics]
    assert (shares[0], shares[3]) == (0.0, 0.0)  # a stage begins without
    assert sum(shares) > 0, "nothing was replayed: the test shows nothing"
    for step in metrics:
        assert (step["replay/age"] >= 1) == (step["replay/share"] > 0)
        assert 0 < step["replay/weight"] <= 2
        assert (step["replay/weight"] == 1.0) == (step["replay/share"] == 0)  # the policy has moved since
    per_prompt = 4  # completions
    sampled = [sum(1 for _ in line["completions"]) for line in lines(tmp_path / "straight" / "samples.jsonl")]
    assert set(sampled) == {per_prompt}


def test_a_replayed_group_is_not_sampled_and_counts_in_the_denominator(go, lines, tiny_recipe, tmp_path):
    _, callback = go(replaying(tiny_recipe()), tmp_path / "out")
    for record in callback.records:
        assert len(record.groups) == 4 - 4 * record.metrics["replay/share"]
        assert all(one.age == 0 for one in record.groups)
    _, without = go(replaying(tiny_recipe(), replay=None), tmp_path / "without")
    assert "replay/share" not in without.records[0].metrics
    first, other = callback.records[0], without.records[0]
    assert [one.prompt.id for one in first.groups] == [one.prompt.id for one in other.groups]


def test_the_weight_of_a_replayed_token_is_the_truncated_ratio_to_its_sampler(tiny_policy):
    """The gradient with a replayed group is that of its tokens' min(π/μ, cap) · A · log π, by hand."""
    import torch

    from prerlkit.recipe.model import Adapter
    from prerlkit.recipe.schema import Memory, Stage
    from prerlkit.train.distributed import World
    from prerlkit.train.step import Updater

    tiny_policy.adapters.fresh("rl", Adapter(rank=2), seed=1)
    stage = Stage.model_validate(
        {"name": "rl", "objective": {"preset": "grpo", "loss": "reinforce"}, "steps": 1, "learning_rate": 1e-3}
        | {"rollout": {"prompts_per_step": 2, "group_size": 2, "replay": 0.5, "max_new_tokens": 2}}
    )
    completions = tuple(Completion((7, number), "", (-9.0, -3.0), truncated=False) for number in (8, 9))
    verdicts = (Verdict.of(True), Verdict.of(False))
    old = Group(PROMPTS[3], completions, verdicts, age=1)
    updater = Updater(tiny_policy, stage, Memory(), World())
    stats = updater.gradients([old])
    found = [p.grad.clone() for p in tiny_policy.adapters.trainable]
    total = torch.zeros(())
    for completion, advantage in zip(completions, (0.5**0.5, -(0.5**0.5)), strict=True):
        ids = torch.tensor([[*PROMPTS[3].token_ids, *completion.token_ids]])
        logprobs = tiny_policy.base(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        weights = (logprobs.detach() - torch.tensor(completion.logprobs)).exp().clamp(max=2.0)
        total = total - (weights * advantage * logprobs).sum() / 4
    expected = torch.autograd.grad(total, tiny_policy.adapters.trainable)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert stats.replayed == 4
    assert 0 < stats.replay_weight_sum / stats.replayed <= 2


def test_a_plan_has_no_byte_more_than_with_importance_weights(tiny_recipe, tiny_model):
    def peaks(**changes) -> list:
        recipe = Recipe.model_validate(replaying(tiny_recipe(), **changes))
        return [
            {name: peak.total for name, peak in stage.peaks.items()}
            for stage in trace(recipe, str(tiny_model), "cpu")[1]
        ]

    assert peaks() == peaks(replay=None, importance_cap=2.0)
