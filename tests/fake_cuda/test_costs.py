"""What a step costs on a device: host waits, the kernel of attention, memory."""

from __future__ import annotations

import gc

import pytest
import torch

from prerlkit.errors import PrerlkitError
from prerlkit.plan.device import Device
from prerlkit.plan.plan import make_plan
from prerlkit.policy.policy import load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe
from prerlkit.rollout.protocol import Sampling
from prerlkit.train.distributed import ALONE
from prerlkit.train.stage import update_policy
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Prompt, Verdict

GIB = 2**30


@pytest.fixture
def policy(device, tiny_model):
    settings = Model(id=str(tiny_model), dtype="bfloat16", device="cuda")
    return load_policy(str(tiny_model), settings, read_tokens(str(tiny_model), settings))


@pytest.fixture
def recipe(tiny_recipe, policy):
    def make(**changes):
        made = Recipe.model_validate(tiny_recipe(**changes))
        policy.adapters.fresh("rl", made.stages[1].adapter, 0)
        return made

    return make


def groups(length=12):
    made = []
    for g in range(4):
        prompt = Prompt(str(g), "", tuple(5 + g + i for i in range(20)), None, {})
        completions = tuple(Completion((7 + s,) * (length + s), "", (0.0,) * (length + s), False) for s in range(4))
        made.append(Group(prompt, completions, tuple(Verdict(float(s % 2), bool(s % 2)) for s in range(4))))
    return made


def test_a_token_costs_one_wait_of_the_host(device, policy, recipe):
    recipe()
    engine, note = policy.engine(16)
    assert note is None
    prompts = [Prompt(str(i), "", tuple(range(20, 32 + 3 * i)), None, {}) for i in range(4)]
    counts = []
    for tokens in (8, 24):
        device.reset()
        assert len(list(engine.generate(prompts, Sampling(4, tokens, 1.0, seed=3)))) == 16
        counts.append(sum(device.waits.values()))
    assert counts[1] - counts[0] == 16  # 16 tokens more; the prompts' pass has waits too
    assert device.events["unsafe: read before it is written"] == 0


@pytest.mark.parametrize("budget", [4096, 64])
def test_a_step_costs_two_waits_however_many_micro_batches_it_has(device, policy, recipe, budget):
    made = recipe(memory={"microbatch_tokens": budget})
    for stage in made.stages:
        updater = Updater(policy, stage, made.memory, ALONE)
        update_policy(updater, groups(), 1e-3)
        device.reset()
        update_policy(updater, groups(), 1e-3)
        assert sum(device.waits.values()) == 2, device.waits


def test_packed_rows_take_the_memory_efficient_kernel(device, policy, recipe):
    made = recipe()
    assert policy.share_contexts
    device.reset()
    update_policy(Updater(policy, made.stages[1], made.memory, ALONE), groups(), 1e-3)
    assert device.events["attention: memory-efficient"] > 0
    assert device.events["attention: math, masked"] == 0


def test_when_memory_runs_out_micro_batches_become_smaller_and_the_gradient_stays(device, policy, recipe):
    made = recipe(memory={"microbatch_tokens": 4096, "logits_chunk": 32})
    before, notes = device.held, []

    def gradient(limit=None):
        for parameter in policy.adapters.trainable:
            parameter.grad = None
        gc.collect()
        notes.clear()
        updater = Updater(policy, made.stages[1], made.memory, ALONE, None, notes.append)
        device.reset()
        if limit:
            device.limit = device.held + limit
        updater.gradients(groups(100))
        device.limit = 24 * GIB
        return [p.grad.cpu().float() for p in policy.adapters.trainable]

    whole = gradient()
    needed = device.peak - before
    for found, right in zip(gradient(limit=needed // 2), whole, strict=True):
        assert (found - right).norm() <= 0.05 * right.norm() + 1e-6
    assert any("micro-batches of" in note for note in notes)
    with pytest.raises(PrerlkitError, match="does not fit"):
        gradient(limit=needed // 200)
    device.limit = 24 * GIB


def test_what_is_planned_is_what_is_counted(device, policy, recipe, tiny_model):
    """The traced step against the device's own count, on the batch that the plan takes as the worst."""
    from prerlkit.plan import worst_case

    rollout = {"group_size": 4, "prompts_per_step": 4, "max_prompt_tokens": 100, "max_new_tokens": 100}
    model = {"id": str(tiny_model), "dtype": "bfloat16", "device": "cuda"}
    made = recipe(rollout=rollout, memory={"microbatch_tokens": 1000, "logits_chunk": 64}, model=model)
    plan = make_plan(made, str(tiny_model), Device("simulated", "cuda", 24 * GIB, 0))
    planned = max(p.total for p in plan.phases if p.name in ("log-probs", "backward", "optimizer"))
    gc.collect()
    device.reset()
    stage = made.stages[1]
    updater = Updater(policy, stage, made.memory, ALONE)
    for batch in worst_case.batches(stage, made.memory, share_contexts=policy.share_contexts):
        update_policy(updater, batch, 1e-3)
    assert device.peak == pytest.approx(planned, rel=0.15)
    assert torch.isfinite(torch.cat([p.detach().flatten().cpu() for p in policy.adapters.trainable])).all()
