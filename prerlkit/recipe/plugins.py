"""The files that a recipe names for its losses, advantages, probes and engine, and the folder of its model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from prerlkit.objective.choices import FileAdvantage, FileLoss, Objective
from prerlkit.plugins import is_file, located
from prerlkit.recipe.model import Model
from prerlkit.recipe.schema import Recipe, Stage

Rename = Callable[[str, str], str]
"""(key of the recipe, name) → the name to put there."""


def bind(recipe: Recipe, folder: Path | None) -> Recipe:
    """Return the recipe with an absolute path for each `file.py:Name` and for its model's folder. No file is read.

    A run records the recipe before this change: paths of one machine are useless on another.

    Args:
        folder: the recipe's.

    Raises:
        UsageError: a file is missing; it names the key.
    """
    bound = _renamed(recipe, lambda key, name: located(name, folder, key))
    return bound.model_copy(update={"model": model_near(recipe.model, folder)})


def model_near(model: Model, folder: Path | None) -> Model:
    """Return the model with its absolute path where its id is a folder next to the recipe.

    A folder in the working directory wins, as with every relative path of a recipe.
    """
    if folder is None or os.path.exists(os.path.expanduser(model.id)):  # never raises, unlike Path's own
        return model
    near = os.path.join(folder.absolute(), model.id)
    return model.model_copy(update={"id": near}) if os.path.isdir(near) else model


def plugin_files(recipe: Recipe) -> dict[str, str]:
    """Return the names `file.py:Name` in a recipe, by their key."""
    found: dict[str, str] = {}

    def collect(key: str, name: str) -> str:
        found[key] = name
        return name

    _renamed(recipe, collect)
    return found


def _renamed(recipe: Recipe, rename: Rename) -> Recipe:
    engine = recipe.rollout.engine
    if is_file(engine):
        engine = rename("rollout.engine", engine)
    return recipe.model_copy(
        update={
            "rollout": recipe.rollout.model_copy(update={"engine": engine}),
            "stages": tuple(_stage(stage, f"stages[{n}]", engine, rename) for n, stage in enumerate(recipe.stages)),
            "probes": tuple(
                probe.model_copy(update={"name": rename(f"probes[{n}].name", probe.name)})
                if is_file(probe.name)
                else probe
                for n, probe in enumerate(recipe.probes)
            ),
        }
    )


def _stage(stage: Stage, key: str, engine: str, rename: Rename) -> Stage:
    objective = tuple(_objective(one, f"{key}.objective[{n}]", rename) for n, one in enumerate(stage.objective))
    rollout = stage.rollout.model_copy(update={"engine": engine})
    return stage.model_copy(update={"objective": objective, "rollout": rollout})


def _objective(objective: Objective, key: str, rename: Rename) -> Objective:
    changed = {
        field: choice.model_copy(update={"kind": rename(f"{key}.{field}", choice.kind)})
        for field, choice in (("loss", objective.loss), ("advantage", objective.advantage))
        if isinstance(choice, FileLoss | FileAdvantage)
    }
    return objective.model_copy(update=changed)
