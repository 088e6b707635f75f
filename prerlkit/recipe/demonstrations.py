"""A supervised stage's section: which demonstrations it learns from, and what follows for the rest of the stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import model_validator

from prerlkit.objective.choices import Objective
from prerlkit.recipe.rollout import Rollout
from prerlkit.recipe.sources import Filter, Source
from prerlkit.settings import NonNegativeInt, PositiveInt, Settings

UNSAMPLED: Mapping[str, Any] = {
    "group_size": 1,
    "refill": 0,
    "replay": None,
    "difficulty": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "importance_cap": None,
}
"""The keys of `rollout` that only sampling has a use for, as every supervised stage has them."""


class Demonstrations(Settings):
    """Answers that a stage learns from, in place of sampling its own. Without `source` and `samples` they are a column
    of the recipe's own train rows."""

    source: Source | None = None
    """A separate source of rows; `data` decides the form of the prompt. Rows with an eval prompt are left out."""
    samples: str | None = None
    """`samples.jsonl` of a target that `prerlkit eval` measured on the train rows: the completions that passed are the
    demonstrations (rejection sampling). Relative paths as in `file` sources."""
    per_prompt: PositiveInt = 4
    """With `samples`: at most so many different completions for each prompt, the first ones. 4: ours."""
    prompt: str | None = None
    """With `source`: text of the user's turn. null: `data.prompt`."""
    completion: str = "{completion}"
    """Text of the answer; `{column}` is filled from the row. The end token is appended. TRL: column `completion`."""
    messages: str | None = None
    """With `source`: column of a list of chat messages (`role`, `content`), in place of `prompt` and `completion`. The
    last message is the assistant's: the answer; those before it are the prompt. TRL: column `messages`."""
    filters: tuple[Filter, ...] = ()
    """With `source`: all must hold for a row."""
    max_rows: NonNegativeInt = 0
    """Use only the first so many demonstrations. 0: all."""
    long_answers: Literal["error", "drop"] = "error"
    """What to do with an answer over the stage's `rollout.max_new_tokens`. drop says how many."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = {key for key in self.model_fields_set if getattr(self, key) != type(self).model_fields[key].default}
        if self.samples is not None:
            useless = sorted(given & {"source", "prompt", "completion", "messages", "filters"})
            where = "`samples`: it takes prompts and answers from the evaluation"
        elif self.source is None:
            useless = sorted(given & {"prompt", "messages", "filters", "per_prompt"})
            where = "the recipe's own rows: give `source`"
        else:
            useless = sorted(given & {"per_prompt"})
            where = "`source`"
        if useless:
            raise ValueError(f"{useless[0]} does not go with {where}")
        if self.messages is not None and given & {"prompt", "completion"}:
            raise ValueError("messages hold both prompt and answer: leave prompt and completion out")
        return self


def check_supervised(
    name: str, objectives: Sequence[Objective], demonstrations: Demonstrations | None, rollout: Rollout, guard: object
) -> None:
    """Raise ValueError where a stage's keys contradict each other on whether it samples or learns from demonstrations.

    Args:
        name: the stage's.
        guard: the stage's; None: it has none.
    """
    if why := _contradiction(objectives, demonstrations, rollout, guard):
        raise ValueError(f'stages: "{name}" {why}')


def _contradiction(
    objectives: Sequence[Objective], demonstrations: Demonstrations | None, rollout: Rollout, guard: object
) -> str:
    supervised = [one.advantage.kind == "demonstrated" for one in objectives]
    if demonstrations is None:
        return (
            "learns from demonstrations (objective: sft), and has none: add "
            '`demonstrations: {completion: "{column}"}` for a column of the train rows, or name a source'
            if any(supervised)
            else ""
        )
    if not all(supervised):
        return (
            "has demonstrations, which have no rewards, and its objective needs rewards: set objective: sft, or remove "
            "the demonstrations"
        )
    if any(one.samples == "negative" for one in objectives):
        return "has objective.samples: negative, which leaves out every demonstration: set all"
    for key, value in UNSAMPLED.items():
        if getattr(rollout, key) != value:
            return (
                f"sets rollout.{key}, which is for sampling, and has demonstrations in place of samples: leave it out"
            )
    if guard is not None:
        return "has a guard, which compares pass rates of samples, and demonstrations in place of samples: leave it out"
    return ""
