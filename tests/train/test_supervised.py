"""A supervised stage: its loss is transformers' own, it resumes exactly, and it has nothing that only samples have."""

from __future__ import annotations

import pytest
import torch

from prerlkit.cli.render.step import step_line
from prerlkit.dose.runs import most_steps
from prerlkit.errors import UsageError
from prerlkit.metrics.catalogue import OF_SAMPLES, OF_STEPS, STAGE, STEP
from prerlkit.plan.hours import tokens_of
from prerlkit.plan.probe import extrapolate
from prerlkit.plan.rollouts import loads
from prerlkit.plan.tracker import EVALUATION, ROLLOUT
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Memory, Recipe, Stage
from prerlkit.train.distributed import World
from prerlkit.train.early_stop import check_until
from prerlkit.train.health import check
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Prompt, StepRecord, Verdict

PAIRS = (("What is 1 + 2?", "3<"), ("What is 1 + 2?", "three, I think"), ("Hi", "Hello."), ("Say it", "it"))


def demonstrations() -> list[Group]:
    return [
        Group(
            Prompt(f"train/{n}", text, tuple(text.encode())),
            (Completion(tuple(answer.encode()), answer, (), truncated=False),),
            (Verdict.of(True),),
        )
        for n, (text, answer) in enumerate(PAIRS)
    ]


def stage(space: str) -> Stage:
    objective = {"preset": "sft", "space": space}
    return Stage.model_validate({"name": "s", "objective": objective, "steps": 1, "learning_rate": 1e-2})


def with_adapter(policy) -> None:
    policy.adapters.fresh("s", Adapter(rank=4, alpha=8), 1)
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.adapters.trainable:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


def ours(policy, space: str, tokens: int = 4096, world: World | None = None) -> tuple[float, torch.Tensor]:
    """Loss and gradient of the stage's objective on all demonstrations."""
    updater = Updater(policy, stage(space), Memory(microbatch_tokens=tokens), world or World())
    stats = updater.gradients(demonstrations())
    return stats.loss, torch.cat([p.grad.flatten() for p in policy.adapters.trainable])


def transformers_own(policy, space: str) -> tuple[float, torch.Tensor]:
    """The same by `labels`, one sequence at a time: the prompt's labels are -100, losses are means over tokens."""
    policy.adapters.peft.zero_grad()
    total, tokens = 0.0, sum(len(answer) for _, answer in PAIRS)
    for text, answer in PAIRS:
        context = list(text.encode()) if space == "conditional" else [policy.start.id]
        ids = torch.tensor([[*context, *answer.encode()]])
        labels = ids.clone()
        labels[:, : len(context)] = -100
        loss = policy.base(input_ids=ids, labels=labels).loss * len(answer) / tokens
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in policy.adapters.trainable])


@pytest.mark.parametrize("space", ["conditional", "pretrain"])
@pytest.mark.parametrize("tokens", [4096, 1])
def test_loss_and_gradient_are_those_of_transformers_packed_and_one_by_one(tiny_policy, space, tokens):
    with_adapter(tiny_policy)
    own_loss, own = ours(tiny_policy, space, tokens)
    loss, gradient = transformers_own(tiny_policy, space)
    assert own_loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(own, gradient, atol=1e-6, rtol=1e-5)
    assert gradient.norm() > 1e-3


def test_the_loss_of_log_p_y_does_not_know_the_prompts(tiny_policy, monkeypatch):
    with_adapter(tiny_policy)
    loss, _ = ours(tiny_policy, "pretrain")
    conditional, _ = ours(tiny_policy, "conditional")
    monkeypatch.setattr(f"{__name__}.PAIRS", tuple((f"other {n}", answer) for n, (_, answer) in enumerate(PAIRS)))
    assert ours(tiny_policy, "pretrain")[0] == loss
    assert ours(tiny_policy, "conditional")[0] != pytest.approx(conditional, abs=1e-3)


def test_processes_share_the_rows_of_a_step(tiny_policy):
    with_adapter(tiny_policy)
    _, whole = ours(tiny_policy, "conditional")
    parts = sum(ours(tiny_policy, "conditional", world=World(rank, 2, 0))[1].clone() for rank in range(2))
    assert torch.allclose(parts, whole, atol=1e-6)


def supervised(tiny_recipe, **changes) -> dict:
    """SFT, GRPO, then SFT on log P(y): before, between and after."""
    last = {"preset": "sft", "space": "pretrain"}
    own = {"completion": "{answer}"}
    stages = [
        {
            "name": "start",
            "objective": "sft",
            "demonstrations": {**own, "max_rows": 2},
            "steps": 3,
            "learning_rate": 1e-2,
        },
        {"name": "rl", "objective": "grpo", "steps": 2, "learning_rate": 1e-2},
        {"name": "end", "objective": last, "demonstrations": own, "steps": 2, "learning_rate": 1e-2},
    ]
    stages[0]["schedule"] = "cosine"
    return tiny_recipe(stages=stages, probes=[{"name": "thoughts", "every": 1}], **changes)


def test_a_run_with_supervised_stages_resumes_to_the_byte(go, same_run, lines, tiny_recipe, tmp_path):
    recipe = supervised(tiny_recipe)
    _, callback = go(recipe, tmp_path / "straight")
    for stop in (1, 4, 6):
        go(recipe, tmp_path / f"parts{stop}", stop_after=stop)
        go(recipe, tmp_path / f"parts{stop}", existing="resume")
        same_run(tmp_path / "straight", tmp_path / f"parts{stop}")

    steps = lines(tmp_path / "straight" / "metrics.jsonl")
    always = {metric.name for metric in OF_STEPS if not metric.optional}
    without = always - {metric.name for metric in OF_SAMPLES}
    assert [set(step) - {STEP.name, STAGE.name} for step in steps if step["stage"] == "start"][:1] == [
        without - {STEP.name, STAGE.name}
    ]
    assert {name for name in steps[3] if name.startswith("probe/thoughts")}  # rl
    assert not {name for name in steps[5] if name.startswith(("probe/", "stage/kl", "reward/", "time/probe"))}
    assert steps[2]["loss/total"] < steps[0]["loss/total"]
    assert {line["stage"] for line in lines(tmp_path / "straight" / "samples.jsonl")} == {"rl"}
    assert any("demonstrations" in note and "passes over them" in note for note in callback.notes)


def test_a_supervised_start_leaves_the_prompts_of_later_stages_as_they_are(go, lines, tiny_recipe, tmp_path):
    recipe = supervised(tiny_recipe, evaluation={"when": []})
    go({**recipe, "stages": recipe["stages"][:2]}, tmp_path / "with")
    go({**recipe, "stages": recipe["stages"][1:2]}, tmp_path / "without")
    prompts = [[line["prompt_id"] for line in lines(tmp_path / name / "samples.jsonl")] for name in ("with", "without")]
    assert prompts[0] == prompts[1]


def test_changed_demonstrations_end_a_resume(go, tiny_recipe, tmp_path):
    demos = tmp_path / "demos.jsonl"
    demos.write_text('{"question": "a", "completion": "b"}\n')
    recipe = supervised(tiny_recipe, evaluation={"when": []})
    recipe["stages"] = recipe["stages"][:1]
    recipe["stages"][0]["demonstrations"] = {"source": {"kind": "file", "path": str(demos)}}
    go(recipe, tmp_path / "out", stop_after=1)
    demos.write_text('{"question": "a", "completion": "c"}\n')
    with pytest.raises(UsageError, match="The demonstrations of start are not those that"):
        go(recipe, tmp_path / "out", existing="resume")


def test_a_rule_on_a_metric_of_samples_is_refused_in_a_supervised_stage(tiny_recipe):
    def checked(metric: str) -> None:
        recipe = supervised(tiny_recipe)
        recipe["stages"][0]["until"] = {"metric": metric, "below": 0.1}
        check_until(Recipe.model_validate(recipe))

    checked("loss/total")
    for metric in ("reward/mean", "probe/thoughts/reflection"):
        with pytest.raises(UsageError, match=f"{metric} is measured on samples"):
            checked(metric)


def test_health_looks_at_the_updates_of_a_supervised_stage_alone():
    settings = Recipe.model_fields["health"].default
    step = {"loss/total": 1.0, "optim/nonfinite": 1.0}
    found = check([step] * (3 * settings.window), settings)
    assert [warned.name for warned in found] == ["nonfinite"]


def test_the_plan_has_no_rollout_of_a_supervised_stage_and_keeps_that_of_the_others(tiny_recipe):
    recipe = Recipe.model_validate(supervised(tiny_recipe))
    generated = [tokens_of(one, share_contexts=True).generated for one in recipe.stages]
    assert (generated[0], generated[2]) == (0, 0)
    assert generated[1] == 2 * 4 * 3
    phases = [[load.phase for load in loads(recipe, one)] for one in recipe.stages]
    assert [ROLLOUT in own for own in phases] == [False, True, False]
    assert all(EVALUATION in own for own in phases)


def test_two_steps_of_a_run_give_hours_where_a_stage_samples_nothing(tiny_recipe):
    recipe = Recipe.model_validate(supervised(tiny_recipe, evaluation={"prompts": 4, "when": ["after"]}))
    update = {"time/step": 2.0, "memory/peak": 7.0}
    sampled = {"tokens/generated": 10, "time/rollout": 1.0, "tokens/completion_mean": 5.0}
    lines = [{"stage": "start", **update}, {"stage": "rl", **update, **sampled}, {"stage": "end", **update}]
    found = extrapolate(recipe, lines)
    assert found.hours == pytest.approx(((3 + 2 + 2) * 2.0 + 4 * 5.0 * 1.0 / 10) / 3600)


def test_a_step_in_one_line_names_the_loss_in_place_of_rewards():
    metrics = {"loss/total": 1.5, "optim/grad_norm": 0.25, "tokens/trained": 100, "time/train": 0.5}
    record = StepRecord(1, "start", {**metrics, "time/step": 0.5, "optim/skipped": 0}, ())
    assert step_line(record, 1, 3) == "start   1/3  loss 1.5000  grad 0.25  200 tok/s  0.5 s"


def test_a_dose_of_a_supervised_stage_is_refused(tiny_recipe):
    with pytest.raises(UsageError, match=r"learns from demonstrations: a dose is measured on a stage that samples"):
        most_steps(Recipe.model_validate(supervised(tiny_recipe)), None)
