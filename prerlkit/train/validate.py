"""Checks that need other rooms' knowledge but no model and no data: settings of verifiers and generators."""

from __future__ import annotations

from pathlib import Path

from prerlkit.data.generators import check as check_generator
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import Generator
from prerlkit.verify import registry


def check_settings(recipe: Recipe, folder: Path | None) -> None:
    """Raise UsageError for a verifier or generator that doesn't exist, or whose settings are wrong.

    Args:
        folder: the recipe's folder, for plugins beside it.
    """
    for use in recipe.verifiers:
        verifier = registry.make(use.name, use.settings, folder)
        if verifier.needs_answer and recipe.data.answer is None:
            raise UsageError(
                f'verifier "{use.name}" needs a gold answer, but data.answer is null: every sample would be unjudged',
                "Name the column that holds it: data.answer.",
            )
    for source in (recipe.data.train, recipe.data.eval):
        if isinstance(source, Generator):
            check_generator(source.name, source.settings)
