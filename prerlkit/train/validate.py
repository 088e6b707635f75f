"""Checks that need other rooms' knowledge but no model and no data: settings of verifiers and generators."""

from __future__ import annotations

from pathlib import Path

from prerlkit.data.generators import check as check_generator
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import Generator
from prerlkit.verify import registry


def check_settings(recipe: Recipe, folder: Path | None) -> None:
    """Raise UsageError for a verifier or generator that doesn't exist, or whose settings are wrong.

    Args:
        folder: the recipe's folder, for plugins beside it.
    """
    for use in recipe.verifiers:
        registry.make(use.name, use.settings, folder)
    for source in (recipe.data.train, recipe.data.eval):
        if isinstance(source, Generator):
            check_generator(source.name, source.settings)
