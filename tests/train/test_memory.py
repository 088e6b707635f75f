"""Out of memory in the train step: micro-batches of half the size, the same gradient, remembered."""

from __future__ import annotations

import pytest
import torch

from prerlkit.errors import PrerlkitError
from prerlkit.recipe.model import Adapter
from prerlkit.recipe.schema import Memory, Stage
from prerlkit.train import step as step_module
from prerlkit.train.distributed import World
from prerlkit.train.stage import update_policy
from prerlkit.train.step import Updater
from prerlkit.types import Completion, Group, Prompt, Verdict

CPU_MESSAGE = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
ERRORS = {"cuda": torch.OutOfMemoryError("CUDA out of memory."), "cpu": RuntimeError(CPU_MESSAGE)}


def make_groups() -> list[Group]:
    groups = []
    for p in range(3):
        ids = [tuple(range(65, 65 + 4 + 3 * g)) for g in range(4)]
        completions = tuple(Completion(i, "", (0.0,) * len(i), truncated=False) for i in ids)
        prompt = Prompt(f"train/{p}", "", (72, 105, 33 + p))
        groups.append(Group(prompt, completions, tuple(Verdict.of(g % 2 == 0) for g in range(4))))
    return groups


def make_updater(policy, budget: int, notes: list[str], **stage) -> Updater:
    fields = {"name": "s", "objective": "grpo", "steps": 4, "learning_rate": 1e-2, "adapter": {"rank": 4}, **stage}
    return Updater(
        policy, Stage.model_validate(fields), Memory(microbatch_tokens=budget), World(), on_message=notes.append
    )


def limit_memory(monkeypatch, most: int, error: Exception) -> list[int]:
    """Backward passes of more than `most` scored tokens run out of memory, after adding to some gradients."""
    real, sizes = step_module.objective_loss, []

    def limited(objective, terms):
        parts = real(objective, terms)
        sizes.append(len(terms.logprobs_N))
        if len(terms.logprobs_N) > most:
            parts.total.backward(retain_graph=True)
            raise error
        return parts

    monkeypatch.setattr(step_module, "objective_loss", limited)
    return sizes


@pytest.fixture
def policy(tiny_policy):
    tiny_policy.adapters.fresh("s", Adapter(rank=4, alpha=8), seed=1)
    generator = torch.Generator().manual_seed(1)
    for parameter in tiny_policy.adapters.trainable:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return tiny_policy


def gradient(policy) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in policy.adapters.trainable])


@pytest.mark.parametrize("device", sorted(ERRORS))
def test_the_step_goes_on_with_half_and_keeps_to_it(policy, monkeypatch, device):
    notes: list[str] = []
    make_updater(policy, 10_000, notes).gradients(make_groups())
    expected = gradient(policy)
    for parameter in policy.adapters.trainable:
        parameter.grad = None

    sizes = limit_memory(monkeypatch, 20, ERRORS[device])
    updater = make_updater(policy, 160, notes)
    updater.gradients(make_groups())
    torch.testing.assert_close(gradient(policy), expected, atol=1e-6, rtol=1e-4)
    assert max(sizes) > 20
    assert notes
    assert all("out of memory" in note and "microbatch_tokens" in note for note in notes)

    told, tried = len(notes), len(sizes)
    updater.gradients(make_groups())  # remembered: nothing fails again
    assert len(notes) == told
    assert max(sizes[tried:]) <= 20


def test_one_sequence_that_does_not_fit_stops_with_advice(policy, monkeypatch):
    limit_memory(monkeypatch, 3, ERRORS["cuda"])
    with pytest.raises(PrerlkitError, match="One sequence of 16 tokens") as caught:
        make_updater(policy, 64, []).gradients(make_groups())
    assert "gradient_checkpointing" in caught.value.hint


def test_other_errors_are_not_taken_for_it(policy, monkeypatch):
    limit_memory(monkeypatch, 3, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        make_updater(policy, 64, []).gradients(make_groups())


def test_old_logprobs_are_scored_within_memory_too(policy, monkeypatch):
    real, calls = type(policy).logprobs, []

    def limited(self, sequences, **options):
        calls.append(len(sequences.rows_N))
        if len(sequences.rows_N) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, sequences, **options)

    monkeypatch.setattr(type(policy), "logprobs", limited)
    notes: list[str] = []
    updater = make_updater(policy, 160, notes, optimizer={"updates_per_rollout": 2})
    stats = update_policy(updater, make_groups(), rate=1e-2)
    assert notes
    assert stats.scored > 0
    assert calls[-1] <= 20
