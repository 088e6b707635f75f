"""KL of the policy to the policy before its stage, on completions of the step: two passes, no sampling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch

from prerlkit.objective.choices import Kl
from prerlkit.objective.loss import kl_losses
from prerlkit.policy.microbatch import TokenRow
from prerlkit.policy.policy import Policy
from prerlkit.probes.passes import completion_logprobs
from prerlkit.recipe.schema import Memory
from prerlkit.train.distributed import World
from prerlkit.train.oom import TokenBudget, out_of_memory
from prerlkit.types import Group

MOST_TOKENS = 1 << 16
"""Completion tokens that an estimate uses at most. Two passes over them take seconds where sampling took minutes."""

_K3 = Kl(coefficient=1.0, estimator="k3")


class StageKl:
    """Measures KL(π‖π_before): π_before is the policy before the current stage.

    The first process measures while the others wait. With a sharded base all of them make the same passes.

    Args:
        on_message: called with a line when a measurement runs out of memory.
    """

    def __init__(self, policy: Policy, memory: Memory, world: World, on_message: Callable[[str], None]) -> None:
        self._policy = policy
        self._memory = memory
        self._budget = TokenBudget(memory.microbatch_tokens)
        self._world = world
        self._on_message = on_message

    def measure(self, groups: Sequence[Group], temperature: float) -> float | None:
        """Return the mean of the k3 estimate (Schulman, 2020) over tokens of `groups`, nats.

        Completions are taken evenly from all prompts, until they have `MOST_TOKENS` tokens. The estimate is unbiased
        where the current policy sampled them.

        Args:
            temperature: of their sampling; both policies are scored at it.

        Returns:
            The KL; None without a token, or where one sequence does not fit in memory.
        """
        rows = list(chosen_rows(groups, MOST_TOKENS))
        if not rows:
            return None
        if not self._memory.shard_base:
            return self._world.from_primary(lambda: self._within_memory(rows, temperature))
        found = self._kl(rows, temperature)
        return self._world.from_primary(lambda: found)

    def _within_memory(self, rows: Sequence[TokenRow], temperature: float) -> float | None:
        longest = max(len(row.context) + len(row.completion) for row in rows)
        try:
            return self._budget.run_within(lambda: self._kl(rows, temperature), longest, self._halved)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        torch.cuda.empty_cache()
        self._on_message("KL to the policy before the stage: no memory even for one sequence; it is not measured")
        return None

    def _halved(self) -> None:
        self._on_message(
            f"KL to the policy before the stage ran out of memory: {self._budget.tokens} tokens at once from now on"
        )

    def _kl(self, rows: Sequence[TokenRow], temperature: float) -> float:
        def logprobs() -> torch.Tensor:
            own = completion_logprobs(
                self._policy,
                rows,
                temperature=temperature,
                pass_tokens=self._budget.tokens,
                chunk=self._memory.logits_chunk,
            )
            return torch.cat(own)

        after_N = logprobs()
        with self._policy.adapters.before_stage():
            before_N = logprobs()
        return float(kl_losses(_K3, after_N, before_N).double().mean())


def chosen_rows(groups: Sequence[Group], most: int) -> Iterator[TokenRow]:
    """Yield completions behind their prompts, the first of each prompt, then the second, until they have `most` tokens.

    The first one that exceeds `most` is not in it, unless it is the only one.
    """
    taken = 0
    for number in itertools.count():
        if not (having := [group for group in groups if number < len(group.completions)]):
            return
        for group in having:
            tokens = group.completions[number].token_ids
            if not tokens:
                continue
            if taken and taken + len(tokens) > most:
                return
            taken += len(tokens)
            yield TokenRow(group.prompt.token_ids, tokens)
