"""The state of a run, decided in one place: from its lock, its summary, and its position against its plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from prerlkit.recipe.load import plain, read_yaml
from prerlkit.runs import lock
from prerlkit.runs.files import RunFiles
from prerlkit.runs.jsonl import read_json, read_last_line

State = Literal["completed", "stopped", "failed", "running", "broken off"]
"""`running`: a process holds the folder. `broken off`: no such process, and the run did not end by itself (killed)."""

RUNNING = "running"
"""The `exit_reason` of a summary from the moment at which a run begins or continues."""
STOPPED = "stopped"
"""The `exit_reason` of a run that was asked to stop, after its step or at once."""


def read_state(folder: Path) -> State:
    """Return the state of the run in `folder`, which has a recipe.yaml.

    Raises:
        PrerlkitError: its recipe or summary is damaged.
    """
    files = RunFiles(folder)
    last = read_last_line(files.metrics).get("step")
    steps = last if isinstance(last, int) else 0
    return state_of(folder, plain(read_yaml(files.recipe)), read_json(files.summary), steps)


def state_of(folder: Path, recipe: Mapping[str, Any], summary: Mapping[str, Any], steps: int) -> State:
    """Return the state of the run in `folder`.

    Args:
        recipe: its resolved recipe, of any version.
        summary: of summary.json; empty without one.
        steps: the last step in metrics.jsonl.
    """
    reason = str(summary.get("exit_reason", ""))
    held = lock.held(folder)
    if held or (held is None and reason == RUNNING):
        return "running"
    if reason.startswith("failed"):
        return "failed"
    if reason == STOPPED:
        return "stopped"
    return "completed" if reason == "completed" and _did_all(recipe, summary, steps) else "broken off"


def _did_all(recipe: Mapping[str, Any], summary: Mapping[str, Any], steps: int) -> bool:
    """Whether the summary is of this plan and of these steps.

    Earlier versions left the summary of a completed run in place while a longer run continued: the plan in it is then
    not the recipe's. A stage may end before its plan by a rule, so its steps are taken from the summary. A summary
    without stages is taken at its word.
    """
    if steps > summary.get("steps", steps):
        return False
    if "stages" not in summary:
        return True
    planned = {stage.get("name"): stage.get("planned") for stage in summary["stages"]}
    return all(planned.get(stage.get("name")) == stage.get("steps") for stage in recipe.get("stages", ()))
