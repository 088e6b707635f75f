"""Rows of a recipe's data as samples that lack only their completion. Needs no model and no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prerlkit.data.prompts import PromptSets
from prerlkit.data.sources import load_rows
from prerlkit.data.template import Answer, Template, keeps
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import Data
from prerlkit.types import Prompt
from prerlkit.verify import VerifierInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A data row by the name that messages use (`train/17`), as a sample without a completion."""

    id: str
    sample: VerifierInput


def from_data(data: Data, folder: Path | None, limit: int) -> list[AuditRow]:
    """Up to `limit` train rows that the filters keep, spread over the source. The prompt is the user's turn alone.

    Args:
        folder: the recipe's folder, for relative paths.

    Raises:
        UsageError: a source, column, template, answer or filter is wrong, or no row is left.
    """
    template, answer = Template(data.prompt), Answer(data.answer, data.answer_pattern)
    rows = {f"train/{number}": row for number, row in enumerate(load_rows(data.train, folder=folder))}
    kept = [where for where, row in rows.items() if all(keeps(rule, row, where) for rule in data.filters)]
    if not kept:
        raise UsageError(f"data.filters keep none of the {len(rows):,} train rows")
    return [
        AuditRow(
            where, VerifierInput(template.fill(rows[where], where), "", answer.of(rows[where], where), rows[where])
        )
        for where in spread(kept[: data.max_rows or None], limit)
    ]


def from_prompts(sets: PromptSets, limit: int) -> list[AuditRow]:
    """Up to `limit` of a run's prompts: three quarters from train, the rest from eval."""
    return [
        _row(prompt) for prompt in [*spread(sets.train, 3 * limit // 4), *spread(sets.eval, limit - 3 * limit // 4)]
    ]


def spread(items: Sequence[T], limit: int) -> list[T]:
    """Up to `limit` items at even distances: data often come sorted by kind."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _row(prompt: Prompt) -> AuditRow:
    return AuditRow(prompt.id, VerifierInput(prompt.text, "", prompt.answer, prompt.row))
