"""Recipe settings of evaluations."""

from __future__ import annotations

from typing import Literal

from prerlkit.settings import Bool, NonNegativeInt, PositiveFloat, PositiveInt, Settings


class Evaluation(Settings):
    """Held-out accuracy, measured the same way each time."""

    when: tuple[Literal["before", "between", "after"], ...] = ("before", "between", "after")
    """before the first stage, between stages, after the last."""
    every: NonNegativeInt = 0
    """Also every so many steps within a stage. 0: no. transformers: `eval_steps`; verl: `test_freq`."""
    prompts: PositiveInt = 200
    """How many eval prompts, the first ones of the eval set."""
    greedy: Bool = True
    """One greedy answer per prompt: accuracy with its 95 % interval."""
    samples: NonNegativeInt = 0
    """k samples per prompt for avg@k and pass@k. 0: none. TRL: `num_generations_eval`."""
    pass_at: tuple[PositiveInt, ...] = (1,)
    """The k's of pass@k (unbiased estimator, arXiv 2107.03374); none may exceed `samples`."""
    temperature: PositiveFloat = 1.0
    """Of those samples."""
    max_new_tokens: PositiveInt | None = None
    """null: the rollout's."""
