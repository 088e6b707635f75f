"""What was run: stages, model, data, recipe, environment; and in what several runs differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prerlkit.objective.choices import Objective
from prerlkit.objective.presets import PRESETS, ObjectiveChoice
from prerlkit.recipe.load import to_yaml
from prerlkit.recipe.schema import Stage
from prerlkit.runs.run import Run
from prerlkit.secrets import redact
from prerlkit.train.guard import collapsed, last_good

_CHOICE: TypeAdapter[Objective] = TypeAdapter(ObjectiveChoice)


def stage_rows(run: Run) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the table of a run's stages."""
    head = [
        "stage",
        "objective",
        "steps",
        "reincarnation",
        "learning rate",
        "prompts × samples",
        "new tokens",
        "adapter",
    ]
    done, early = _done(run), endings(run)
    rows = []
    for n, stage in enumerate(run.recipe.get("stages") or ()):
        rollout, adapter = stage.get("rollout") or {}, stage.get("adapter") or {}
        name = str(stage.get("name", n))
        rows.append(
            [
                name,
                ", ".join(objective_name(o) for o in _listed(stage.get("objective"))),
                shareable(f"taken from {stage['from']}")
                if stage.get("from")
                else f"{done[name]} of {stage.get('steps', '?')}{early.get(name, '')}",
                str(stage.get("reincarnation", "?")) if n else "fresh",
                f"{stage.get('learning_rate', '?')}",
                f"{rollout.get('prompts_per_step', '?')} demonstrations"
                if stage.get("demonstrations")
                else f"{rollout.get('prompts_per_step', '?')} × {rollout.get('group_size', '?')}",
                "none" if stage.get("demonstrations") else f"≤ {rollout.get('max_new_tokens', '?')}",
                f"{'DoRA' if adapter.get('dora') else 'LoRA'} r={adapter.get('rank', '?')}",
            ]
        )
    return head, rows


def objective_name(value: Any) -> str:
    """The preset that an objective is, or its choices in words."""
    try:
        objective = _CHOICE.validate_python(value)
    except ValidationError:
        return "of another version"
    alone = objective.model_copy(update={"coefficient": 1.0})
    for name in PRESETS:
        if _CHOICE.validate_python(name) == alone:
            return objective.weighted(name)
    return objective.weighted(objective.choices)


def planned_steps(run: Run) -> int:
    """Steps of all stages in the recipe, but of a stage that its rule ended those that it did: no more will come."""
    done, early = _done(run), ended_early(run)
    stages = [(str(stage.get("name")), int(stage.get("steps") or 0)) for stage in run.recipe.get("stages") or ()]
    return sum(done[name] if name in early else steps for name, steps in stages)


def ended_early(run: Run) -> frozenset[str]:
    """Stages that ended before their `steps` because a rule (`until`) held or their guard acted: they are over."""
    return frozenset(endings(run))


def endings(run: Run) -> dict[str, str]:
    """How each stage ended that its guard ended, or a rule before its `steps`: words to append to the steps done."""
    done, evaluated = _done(run), {str(evaluation.get("name", "")) for evaluation in run.evaluations}
    stages = run.recipe.get("stages") or ()
    found = {}
    for n, stage in enumerate(stages):
        name = str(stage.get("name"))
        later = any(done[str(other.get("name"))] for other in stages[n + 1 :])
        over = later or run.state == "completed" or f"after {name}" in evaluated
        restored = _restored(run, stage) if over and stage.get("guard") else None
        if restored is not None:
            found[name] = f", ended by its guard: the adapter after step {restored} is restored"
        elif stage.get("until") and over and done[name] < int(stage.get("steps") or 0):
            found[name] = ", ended by its rule"
    return found


def _restored(run: Run, stage: Mapping[str, Any]) -> int | None:
    """Return how many steps the adapter has that the guard of `stage` restored; None where it did not act."""
    try:
        checked = Stage.model_validate(stage)
        past = [(str(step["stage"]), step) for step in run.steps]
        return last_good(checked, past) if collapsed(checked, past) else None
    except (ValidationError, KeyError):  # a recipe or a step of another version
        return None


def _done(run: Run) -> Counter[str]:
    return Counter(str(step["stage"]) for step in run.steps)


def facts(run: Run) -> list[tuple[str, str]]:
    """(name, value) of the model, data, verifiers and device, as far as they are known."""
    recipe, hardware = run.recipe, run.environment.get("hardware") or {}
    model, data = recipe.get("model") or {}, recipe.get("data") or {}
    kept = "" if model.get("quantization", "none") == "none" else f", {model['quantization']}"
    gpu = (hardware.get("gpu") or {}).get("name")
    found = [
        ("model", f"{model.get('id', '?')} ({model.get('dtype', '?')}{kept})"),
        ("training data", _source(data.get("train"))),
        ("held-out data", _source(data.get("eval"))),
        ("verifiers", ", ".join(_verifier(use) for use in recipe.get("verifiers") or ())),
        ("rollouts by", str((recipe.get("rollout") or {}).get("engine", ""))),
        ("device", str(gpu or hardware.get("device") or "")),
        ("seed", str(run.seed)),
        ("folder", str(run.folder)),
    ]
    return [(name, shareable(value)) for name, value in found if value]


def recipe_text(run: Run) -> str:
    """The resolved recipe as YAML."""
    return shareable(to_yaml(run.recipe))


def environment_rows(run: Run) -> list[list[str]]:
    """(what, value) of everything in environment.json."""
    return [[name, shareable(value)] for name, value in flat(run.environment)]


def differences(runs: Sequence[Run]) -> list[list[str]]:
    """Keys of the recipes that are not the same in all runs, with each run's value."""
    flats = [dict(flat(run.recipe)) for run in runs]
    keys = list(dict.fromkeys(key for one in flats for key in one))
    return [
        [key, *(shareable(one.get(key, "–")) for one in flats)]
        for key in keys
        if len({one.get(key) for one in flats}) > 1
    ]


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, value as text) of every leaf; lists by number."""
    if isinstance(value, Mapping) and value:
        items: Sequence[tuple[str, Any]] = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        items = [(str(n), item) for n, item in enumerate(value)]
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return
    for key, item in items:
        yield from flat(item, f"{path}.{key}" if path else key)


def shareable(text: str) -> str:
    """Without secrets, and without the name of the person whose home folder it is."""
    home = str(Path.home())
    return redact(text).replace(home, "~") if len(home) > 1 else redact(text)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _source(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    names = [str(value[key]) for key in ("id", "path", "name", "task") if value.get(key)]
    rows = f", {value['rows']} rows" if value.get("rows") else ""
    return f"{' '.join([str(value.get('kind', '')).replace('_', ' '), *names])}{rows}"


def _verifier(use: Mapping[str, Any]) -> str:
    settings = use.get("settings") or {}
    said = ", ".join(f"{key}: {value}" for key, value in settings.items())
    return f"{use.get('name', '?')}{f' ({said})' if said else ''}"
