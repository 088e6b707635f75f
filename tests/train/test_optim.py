"""Learning rates over a stage, and the optimizers by name."""

import pytest
import torch

from prerlkit.recipe.schema import Optimizer, Schedule
from prerlkit.train.optim import make_optimizer, rate_at


def rates(steps: int, **schedule) -> list[float]:
    return [rate_at(i, steps, 1.0, Schedule(**schedule)) for i in range(steps)]


def test_schedules():
    assert rates(3) == [1.0, 1.0, 1.0]
    assert rates(5, kind="linear") == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert rates(3, kind="linear", final=0.5) == pytest.approx([1.0, 0.75, 0.5])
    assert rates(3, kind="cosine") == pytest.approx([1.0, 0.5, 0.0])
    assert rates(5, warmup_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates(1, kind="cosine") == [1.0]


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_every_optimizer_takes_the_step_of_adam(name):
    """A first step of Adam is −lr·sign(g), whatever g's size."""
    parameter = torch.nn.Parameter(torch.zeros(64, 128))
    optimizer = make_optimizer([parameter], Optimizer(name=name), 0.01)
    parameter.grad = torch.cat([torch.full((32, 128), 3.0), torch.full((32, 128), -0.2)])
    optimizer.step()
    expected = torch.cat([torch.full((32, 128), -0.01), torch.full((32, 128), 0.01)])
    torch.testing.assert_close(parameter.data, expected, atol=1e-5, rtol=0)
