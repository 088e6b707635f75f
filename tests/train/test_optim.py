"""Learning rates over a stage, and the optimizers by name."""

import pytest
import torch

from prerlkit.recipe.optimizer import Optimizer, Schedule
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


def updates(gradients: list[float]) -> list[float]:
    """How far one weight moves at each step of AdamW, in learning rates."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = make_optimizer([weight], Optimizer(), 1.0)
    moved = []
    for gradient in gradients:
        before = weight.item()
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        moved.append(before - weight.item())
    return moved


def test_what_docs_algorithms_says_of_adam_and_small_gradients():
    # A factor cancels while the gradient is large against epsilon, 1e-8: g / (|g| + epsilon).
    assert updates([1e-3]) == pytest.approx([1.0], abs=1e-4)
    assert updates([1e-5]) == pytest.approx([0.999], abs=1e-4)
    assert updates([1e-7]) == pytest.approx([10 / 11])
    assert updates([1e-8]) == pytest.approx([0.5])
    # Moments of 20 steps of a loss times 0.01, kept for a loss whose gradient is as large as that one's was without it.
    kept = updates([0.01] * 20 + [1.0] * 6)[20:]
    assert kept == pytest.approx([0.55, 0.72, 0.84, 0.93, 0.99, 1.05], abs=0.005)
    assert updates([1.0] * 3) == pytest.approx([1.0] * 3)
