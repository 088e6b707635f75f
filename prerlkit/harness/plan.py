"""From what a person says, on the command line or in Python, to targets, a task and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from prerlkit.errors import UsageError
from prerlkit.harness import task as tasks
from prerlkit.harness.settings import EvalSettings
from prerlkit.harness.targets import Target, find
from prerlkit.harness.task import Task

Plan = tuple[list[Target], Task, EvalSettings]


def plan(
    targets: Sequence[str],
    asked: Mapping[str, Any],
    drawn: Mapping[str, Any],
    *,
    base: str | None = None,
    with_base: bool = False,
    checkpoint: bool = False,
    model: Mapping[str, Any] | None = None,
) -> Plan:
    """Find everything; load nothing.

    Args:
        targets: as a person names them.
        asked: recipe, overrides, preset, data, verifier, chat, changes: see `task.of_data`. Without any of them, the
            first run among the targets brings its own recipe.
        drawn: fields of EvalSettings; None for those that the task decides.
        base, checkpoint, model: see `targets.find`.
        with_base: put the first target's base in front.

    Raises:
        UsageError: a target, the task or a setting is wrong.
    """
    given = {key: value for key, value in asked.items() if value not in (None, (), {})}
    task = _task(given) if given else None
    options: dict[str, Any] = {"base": base, "checkpoint": checkpoint, "changes": model}
    found = [find(text, known=task.model if task else None, **options) for text in targets]
    if task is None:
        runs = [target.run for target in found if target.run]
        if not runs:
            task = tasks.of_data()  # says what is missing
        else:
            task = tasks.of_recipe(runs[0].recipe, runs[0].folder)
            found = [target if target.run else find(target.text, known=task.model, **options) for target in found]
    if with_base:
        if not (found[0].run or found[0].adapter):
            raise UsageError(f"--with-base: {found[0].text} is a base itself.")
        found = [found[0].on_base(), *found]
    own = {"max_new_tokens": task.max_new_tokens, "seed": task.seed}
    try:
        settings = EvalSettings.model_validate({**own, **{k: v for k, v in drawn.items() if v is not None}})
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(str(part) for part in item["loc"])
        raise UsageError(
            f"{where + ': ' if where else ''}{item['msg'].removeprefix('Value error, ')}",
            "`prerlkit eval --help` says what each option takes.",
        ) from error
    return found, task, settings


def _task(given: Mapping[str, Any]) -> Task:
    others = {key: value for key, value in given.items() if key not in ("recipe", "overrides")}
    if "recipe" not in given:
        if "overrides" in given:
            raise UsageError("--set changes a recipe, and there is none.", "Add --recipe.")
        if "preset" in others:
            others["preset_name"] = others.pop("preset")
        return tasks.of_data(**others)
    if others:
        raise UsageError(
            f"--recipe says what is asked; {', '.join(sorted(others))} can't be given beside it.",
            "Change the recipe with --set, or leave it out.",
        )
    return tasks.from_recipe(given["recipe"], given.get("overrides", ()))
