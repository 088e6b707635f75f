"""Checks of the policy and its training step: loading, quantization, both spaces, packing, optimizers, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from prerlkit.doctor import tiny
from prerlkit.doctor.check import Bench, FailedError, within
from prerlkit.plan import worst_case
from prerlkit.plan.device import Device
from prerlkit.plan.phases import train, weights
from prerlkit.plan.plan import TRAINING, make_plan
from prerlkit.plan.tracker import BASE, MemoryTracker
from prerlkit.policy.policy import Policy, load_policy
from prerlkit.policy.tokens import read_tokens
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Memory, Recipe
from prerlkit.train.distributed import ALONE
from prerlkit.train.stage import update_policy
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Prompt
from prerlkit.types import Verdict as Judged

SEQUENCES = tuple(tuple((31 * row + 7 * place) % 250 for place in range(48)) for row in range(4))
"""Texts of no meaning: 4 of 48 tokens."""
QUANTIZED_BOUND = 1.0
"""Nats a token between the small model and its quantized form: NF4 moves a random model by 0.1 to 0.3."""
ROUNDING = 0.05
"""Relative difference of two gradients that should be one, in bfloat16."""


def load(bench: Bench, quantization: Literal["none", "int8", "nf4"] = "none", memory: Memory | None = None) -> Policy:
    """Return the small model as a policy on the device."""
    settings = Model(id=str(bench.model), dtype="bfloat16", device=device_of(bench), quantization=quantization)
    return load_policy(str(bench.model), settings, read_tokens(str(bench.model), settings), memory)


def device_of(bench: Bench) -> Literal["cpu", "cuda"]:
    return "cuda" if bench.device == "cuda" else "cpu"


def loads(bench: Bench) -> Mapping[str, float]:
    """16 bit: every log-prob is a number, and rows may be packed."""
    policy = load(bench)
    scores = _flat(policy.score(SEQUENCES))
    if not torch.isfinite(scores).all():
        raise FailedError("its log-probs are not numbers", {})
    if not policy.share_contexts:
        raise FailedError("packed rows are not computed as sequences one by one", {})
    return {"packed rows": float(policy.share_contexts)}


def loads_quantized(bench: Bench, quantization: Literal["int8", "nf4"]) -> Mapping[str, float]:
    """The distance of the quantized model from the 16-bit one."""
    whole, packed = (_flat(load(bench, q).score(SEQUENCES)) for q in ("none", quantization))
    figures = {"nats from 16 bit": float((whole - packed).abs().mean())}
    within(figures, "nats from 16 bit", QUANTIZED_BOUND)
    return figures


def one_gradient(bench: Bench, stage: int) -> Mapping[str, float]:
    """A stage's gradient: with checkpointing and with rows one by one it must be the same."""
    recipe = tiny.recipe(bench.model, bench.device)
    plain = _gradient(load(bench), recipe, stage)
    found = {
        "checkpointing": _gradient(load(bench, memory=Memory(gradient_checkpointing=True)), recipe, stage),
        "one by one": _gradient(replace(load(bench), share_contexts=False), recipe, stage),
    }
    figures = {f"difference, {name}": float((g - plain).norm() / plain.norm()) for name, g in found.items()}
    for name in figures:
        within(figures, name, ROUNDING)
    return figures


def optimizer_steps(bench: Bench, name: str) -> Mapping[str, float]:
    """One step moves the adapter, to numbers."""
    recipe = tiny.recipe(bench.model, bench.device, optimizer={"name": name}, adapter={"rank": 64, "alpha": 64})
    policy = load(bench)
    policy.adapters.fresh("rl", recipe.stages[1].adapter, 0)
    before = torch.cat([p.detach().flatten().clone() for p in policy.adapters.trainable])
    update_policy(Updater(policy, recipe.stages[1], recipe.memory, ALONE), groups(), 1e-3)
    moved = torch.cat([p.detach().flatten() for p in policy.adapters.trainable]) - before
    figures = {"moved": float(moved.abs().max())}
    if not 0 < figures["moved"] < 1:
        raise FailedError(f"the step moved a weight by {figures['moved']:.3g} at a learning rate of 0.001", figures)
    return figures


def memory(bench: Bench) -> Mapping[str, float]:
    """The planned peak of a training step against the tracker's count of a real one, and torch's on a card."""
    sizes = {"group_size": 4, "prompts_per_step": 4, "max_prompt_tokens": 128, "max_new_tokens": 128}
    recipe = tiny.recipe(bench.model, bench.device, rollout=sizes, memory={"microbatch_tokens": 1024})
    plan = make_plan(recipe, str(bench.model), Device("this one", bench.device, 1 << 40, 0))
    planned = max(phase.total for phase in plan.phases if phase.name in TRAINING)
    policy = load(bench)
    policy.adapters.fresh("rl", recipe.stages[1].adapter, 0)
    tracker = MemoryTracker(policy.device.type, 0, (0, 0))
    tracker.hold(weights(policy.base), BASE)
    updater = Updater(policy, recipe.stages[1], recipe.memory, ALONE)
    batches = list(worst_case.batches(recipe.stages[1], recipe.memory, share_contexts=policy.share_contexts))
    if bench.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() - tracker.total
    counted = max(peak.total for batch in batches for peak in train(tracker, updater, batch).values())
    mib = 2**20
    figures = {"planned, MiB": planned / mib, "counted, MiB": counted / mib}
    if bench.device == "cuda":
        figures["torch's peak, MiB"] = (torch.cuda.max_memory_allocated() - held) / mib
    measured = max(value for name, value in figures.items() if not name.startswith("planned"))
    if measured > 1.15 * figures["planned, MiB"]:
        raise FailedError(f"{measured:.0f} MiB were measured, {figures['planned, MiB']:.0f} were planned", figures)
    return figures


def groups(length: int = 24) -> Sequence[Group]:
    """Judged groups with both verdicts in each."""
    made = []
    for number in range(4):
        prompt = Prompt(str(number), "", tuple((5 * number + i) % 250 for i in range(40)), None, {})
        texts = [tuple((11 * number + 3 * s + i) % 250 for i in range(length + s)) for s in range(4)]
        completions = tuple(Completion(ids, "", (-5.0,) * len(ids), truncated=False) for ids in texts)
        verdicts = tuple(Judged(score=float(s % 2), passed=bool(s % 2)) for s in range(4))
        made.append(Group(prompt, completions, verdicts))
    return tuple(made)


def _gradient(policy: Policy, recipe: Recipe, stage: int) -> torch.Tensor:
    """The gradient of all adapter weights of `stage`, with B away from zero, so that A has one too."""
    policy.adapters.fresh("rl", recipe.stages[stage].adapter, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.adapters.trainable:
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
    Updater(policy, recipe.stages[stage], recipe.memory, ALONE).gradients(groups())
    return torch.cat([p.grad.flatten().float() for p in policy.adapters.trainable if p.grad is not None])


def _flat(scores: Any) -> torch.Tensor:
    return torch.tensor([one for row in scores for one in row])
