"""Rows of a recipe's data as samples that lack only their completion. Needs no model and no tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prerlkit.data.sources import iter_rows
from prerlkit.data.template import Answer, Template, each, fits_all
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
    template, answer, fits = Template(data.prompt), Answer(data.answer, data.answer_pattern), fits_all(data.filters)
    count, kept = 0, array("Q")
    for count, row in enumerate(iter_rows(data.train, folder=folder), start=1):
        if all(each({f"train/{count - 1}": row}, "data.filters", fits)):
            kept.append(count - 1)
    if not kept:
        raise UsageError(f"data.filters keep none of the {count:,} train rows")
    wanted = set(spread(kept[: data.max_rows or None], limit))
    found = []
    for number, row in enumerate(iter_rows(data.train, folder=folder)):  # again: all rows could be gigabytes
        if number in wanted:
            where = f"train/{number}"
            (gold,) = each({where: row}, "data.answer_pattern", answer.of)
            found.append(AuditRow(where, VerifierInput(template.fill(row, where), "", gold, row)))
    return found


def from_prompts(train: Sequence[Prompt], held_out: Sequence[Prompt], limit: int) -> list[AuditRow]:
    """Return up to `limit` of a run's prompts: three quarters from train, the others from eval."""
    most = 3 * limit // 4
    return [_row(prompt) for prompt in [*spread(train, most), *spread(held_out, limit - most)]]


def spread(items: Sequence[T], limit: int) -> list[T]:
    """Up to `limit` items at even distances: data often come sorted by kind."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _row(prompt: Prompt) -> AuditRow:
    return AuditRow(prompt.id, VerifierInput(prompt.text, "", prompt.answer, prompt.row))
