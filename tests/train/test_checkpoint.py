"""Checkpoints hold every optimizer's state, nested 8-bit ones too, and give it back to the bit."""

from __future__ import annotations

import pytest
import torch

from prerlkit.recipe.schema import Adapter, Optimizer
from prerlkit.train import checkpoint
from prerlkit.train.checkpoint import Position
from prerlkit.train.optim import make_optimizer


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_the_step_after_a_checkpoint_is_the_step_that_would_have_been(tiny_policy, tmp_path, name):
    # 64 × 64 factors are large enough for bitsandbytes to really keep 8-bit states.
    tiny_policy.adapters.fresh("a", Adapter(rank=64), seed=1)
    parameters = tiny_policy.adapters.trainable
    optimizer = make_optimizer(parameters, Optimizer(name=name), 0.01)

    def step(one: torch.optim.Optimizer, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        one.step()
        return torch.cat([parameter.detach().flatten() for parameter in parameters])

    step(optimizer, 1)
    if name != "adamw":
        state = optimizer.state[parameters[0]]
        assert state["state1"].dtype == torch.uint8
    position = Position(stage=1, step=7, seconds=1.5)
    checkpoint.save(tmp_path / "checkpoint", position, tiny_policy.adapters, optimizer)
    straight = step(optimizer, 2)
    fresh = make_optimizer(parameters, Optimizer(name=name), 0.01)
    checkpoint.restore(tmp_path / "checkpoint", tiny_policy.adapters, fresh)
    assert torch.equal(step(fresh, 2), straight)
    assert checkpoint.read_position(tmp_path / "checkpoint") == position
