"""From a recipe to its engine: a built-in one by name, or a class from a file."""

from __future__ import annotations

from prerlkit.engines.engine import Engine
from prerlkit.plugins import built_in, is_file, make
from prerlkit.recipe.rollout import ENGINES
from prerlkit.recipe.schema import Recipe


def engine_of(recipe: Recipe) -> Engine:
    """Return the recipe's engine; nothing is started.

    Raises:
        UsageError: it is in a file that fails to import, has no such class, or refuses its settings.
    """
    rollout = recipe.rollout
    engine: Engine
    if is_file(rollout.engine):
        engine = make(rollout.engine, rollout.engine_settings, Engine, "rollout.engine")
    else:
        engine = built_in(ENGINES[rollout.engine])()
    return engine


def known_engines() -> tuple[Engine, ...]:
    """Return the built-in engines."""
    return tuple(built_in(where)() for where in ENGINES.values())
