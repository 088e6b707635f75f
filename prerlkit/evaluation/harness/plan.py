"""From a request to targets, a task and settings: everything is found, nothing is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.evaluation.harness import task as tasks
from prerlkit.evaluation.harness.targets import Target, find
from prerlkit.evaluation.harness.task import Task
from prerlkit.evaluation.request import EvalRequest, EvalSettings
from prerlkit.trust import of_model, require


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """What is evaluated, on what, and how."""

    targets: tuple[Target, ...]
    task: Task
    settings: EvalSettings


def plan(targets: Sequence[str], request: EvalRequest) -> EvalPlan:
    """Find the targets and the task. Without a task in the request, the first run among the targets brings its recipe.

    Args:
        targets: as a person names them.

    Raises:
        UsageError: a target, the task or a setting is wrong.
    """
    task = _task(request)
    options: dict[str, Any] = {"base": request.base, "checkpoint": request.checkpoint, "changes": request.model_keys}
    found = [find(text, known=task.model if task else None, **options) for text in targets]
    if task is None:
        runs = [target.run for target in found if target.run]
        if not runs:
            task = tasks.of_data()  # raises: it says what is missing
        else:
            task = tasks.of_recipe(runs[0].recipe, runs[0].recipe_folder, request.trust)
            found = [target if target.run else find(target.text, known=task.model, **options) for target in found]
    if request.with_base:
        if not (found[0].run or found[0].adapter):
            raise UsageError(f"--with-base: {found[0].text} is a base itself.")
        found = [found[0].on_base(), *found]
    if "trust_remote_code" not in request.model_keys:  # else it is allowed right there
        for target in found:
            folder = target.run.recipe_folder if target.run else task.folder
            require(of_model(target.model), folder, request.trust)
    return EvalPlan(tuple(found), task, request.settings(task.max_new_tokens, task.seed))


def _task(request: EvalRequest) -> Task | None:
    asked = request.task_fields
    if request.recipe is None:
        if request.overrides:
            raise UsageError("--set changes a recipe, and there is none.", "Add --recipe.")
        if not asked:
            return None
        return tasks.of_data(
            preset_name=request.preset,
            data=request.data,
            verifier=request.verifier,
            chat=request.chat,
            changes=request.data_keys,
            trust=request.trust,
        )
    if asked:
        raise UsageError(
            f"--recipe says what is asked; {', '.join(sorted(asked))} can't be given with it.",
            "Change the recipe with --set, or leave it out.",
        )
    return tasks.from_recipe(request.recipe, request.overrides, request.trust)
