"""Forward and backward of an objective alone against the plain way, which holds [N, V]: time and peak memory.

    python -m benchmarks.objective [--repeats N] [--quick] [--json FILE]

Hidden states and a head of random weights in bfloat16; NSR-PreRL's clip loss on both sides. The plain way runs every
sample and masks those without signal, as trainers do; ours leaves them out. A ratio above 1 means that ours is faster,
or smaller. Peak memory is what torch holds at once beyond the inputs, counted operator by operator.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.common import Ratios, arguments, ratios, report
from prerlkit.objective.loss import TokenTerms, objective_loss
from prerlkit.policy.logprobs import head_logprobs
from prerlkit.recipe.schema import Stage

WIDTH, SEQUENCES, LENGTH, CHUNK = 576, 32, 48, 128


class Held(TorchDispatchMode):
    """Counts the bytes of all storages that live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._sizes[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._sizes.values()))
        return out


def sides(vocabulary: int, without_signal: float) -> tuple[Callable[[], None], Callable[[], None]]:
    """(the plain way, ours) on the same states."""
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, vocabulary, bias=False, dtype=torch.bfloat16)
    head.weight.requires_grad_(False)
    states_ND = torch.randn(SEQUENCES * LENGTH, WIDTH, dtype=torch.bfloat16)
    targets_N = torch.randint(0, vocabulary, (len(states_ND),))
    rows_N = torch.arange(SEQUENCES).repeat_interleave(LENGTH)
    carries_N = rows_N >= round(SEQUENCES * without_signal)
    advantages_N = torch.where(carries_N, -0.5, 0.0)
    weights_N = torch.full((len(states_ND),), 1.0 / int(carries_N.sum()))
    fields = {"name": "s", "objective": "nsr-prerl", "steps": 1, "learning_rate": 1e-4, "adapter": {"rank": 1}}
    stage = Stage.model_validate(fields)
    objective = stage.objective[0]

    def loss(logprobs_N: Tensor, chosen: Tensor) -> Tensor:
        terms = TokenTerms(
            logprobs_N, None, advantages_N[chosen], weights_N[chosen], rows_N[chosen], SEQUENCES, None, None
        )
        return objective_loss(objective, terms).total

    def plain() -> None:
        leaf = states_ND.clone().requires_grad_()
        logs_NV = head(leaf).float().log_softmax(-1)
        logprobs_N = logs_NV.gather(-1, targets_N[:, None])[:, 0]
        loss(logprobs_N, torch.ones_like(carries_N)).backward()

    def ours() -> None:
        leaf = states_ND[carries_N].requires_grad_()
        logprobs_N = head_logprobs(head, leaf, targets_N[carries_N], 1.0, CHUNK)
        loss(logprobs_N, carries_N).backward()

    return plain, ours


def held(call: Callable[[], None]) -> int:
    """Peak bytes of `call`."""
    with Held() as counted:
        call()
    return counted.peak


def main() -> None:
    options = arguments(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter))
    found: dict[str, Ratios] = {}
    for vocabulary in (49_152, 151_936):
        for without in (0.0, 0.5, 0.9):
            plain, ours = sides(vocabulary, without)
            name = f"V={vocabulary}, {without:.0%} without signal"
            found[f"{name}: time"] = ratios(plain, ours, min(options.repeats, 7))
            memory = held(plain) / held(ours)
            found[f"{name}: memory"] = {"min": memory, "median": memory, "max": memory}
    settings = {"width": WIDTH, "tokens": SEQUENCES * LENGTH, "chunk": CHUNK, "dtype": "bfloat16"}
    report("the objective alone, the plain way / ours", found, settings, options.json)


if __name__ == "__main__":
    main()
