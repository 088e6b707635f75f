"""Resume a run, only with the recipe, prompts and model of its start; a changed recipe is refused with a diff."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prerlkit.errors import UsageError
from prerlkit.plugins import located, sha256
from prerlkit.probes.protocol import History
from prerlkit.recipe.load import load
from prerlkit.recipe.plugins import plugin_files
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.runs.checkpoint import Checkpoint
from prerlkit.runs.files import RunFiles
from prerlkit.settings import mistake
from prerlkit.train.early_stop import reached
from prerlkit.train.prepare import Prepared

MAY_CHANGE = (
    r"description",
    r"stages\[\d+\]\.steps",
    r"evaluation\..*",
    r"output\..*",
    r"health\..*",
    r"probes.*",
    r"memory\..*",
    r"rollout\.max_sequences",
    r"stages\[\d+\]\.rollout\.max_sequences",
    r"(stages\[\d+\]\.)?rollout\.vllm\.(server\[\d+\]|shared_folder)",
    r"model\.revision",
)
"""Keys of a resolved recipe that may differ when a run resumes: length, evaluations, health, output, what trades time
for memory, and which servers sample (not whether servers do). A model's revision may have another name, but not
another commit."""


def origin(
    prepared: Prepared, recipe: Recipe, folder: Path | None, taken: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what a run depends on in addition to its recipe; kept in every checkpoint.

    Keys: `revision` (the model's commit), `prompts` (SHA-256 of all prompts and answers, in order, and of
    demonstrations), `plugins` (SHA-256 of each file that the recipe names for a loss, an advantage or an engine, by its
    name there), `recipe` (resolved), `taken` (place and SHA-256 of the adapter that the first stage is taken from). The
    recipe is stored whole, not as a digest: a refusal can then name the key that changed.

    Args:
        folder: the recipe's, which files are relative to.
        taken: of `taken_stage.TakenStage.origin`; None where the first stage is trained.
    """
    prompts = prepared.prompts
    return {
        "recipe": recipe.model_dump(mode="json"),
        "revision": prepared.model.revision,
        "prompts": {
            "train": prompts.train.digest(),
            "eval": prompts.eval.digest(),
            **_demonstrations(prepared),
        },
        "plugins": {
            name: sha256(located(name, folder, key))
            for key, name in plugin_files(recipe).items()
            if not key.startswith("probes")  # a probe changes no run, and may change when it continues
        },
        "taken": dict(taken) if taken else None,
    }


def _demonstrations(prepared: Prepared) -> dict[str, str]:
    return {f"demonstrations of {name}": digest for name, digest in prepared.demonstrated().items()}


def _earlier(prepared: Prepared) -> dict[str, str]:
    """Return what checkpoints of earlier versions hold as `data`: digests that need the tokens of every prompt."""
    digests = {}
    for name, prompts in (("train", prepared.prompts.train), ("eval", prepared.prompts.eval)):
        whole = hashlib.sha256()
        for prompt in prompts:
            whole.update(json.dumps([prompt.id, prompt.token_ids, prompt.answer]).encode())
        digests[name] = whole.hexdigest()
    return {**digests, **_demonstrations(prepared)}


def check_recipe(recipe: Recipe, files: RunFiles) -> list[str]:
    """Compare with the recipe that the run in `files` was started with; gives lines on the changes that are allowed.

    Raises:
        UsageError: a key differs that may not, with a diff.
    """
    if not files.recipe.is_file():
        return []
    return _compare(load(str(files.recipe)).recipe, recipe, str(files.path))


def _compare(before: Recipe, recipe: Recipe, where: str) -> list[str]:
    """Return lines on the changes that are allowed. Raises UsageError with a diff for the others."""
    old, new = (dict(_leaves(r.model_dump(mode="json"))) for r in (before, recipe))
    changed = [key for key in {**old, **new} if old.get(key, _ABSENT) != new.get(key, _ABSENT)]
    refused = [key for key in changed if not any(re.fullmatch(pattern, key) for pattern in MAY_CHANGE)]
    if refused:
        raise UsageError(
            f"{where} was started with another recipe (-); these keys can't change on a resume (+):\n"
            + _diff(old, new, refused),
            "Resume with the recipe as it was, or run the changed one into another --output. What may change: steps, "
            "evaluation, output, health, probes, memory, rollout.max_sequences, the addresses of vLLM servers, "
            "description.",
        )
    return [f"recipe changed: {key} {_word(old, key)} → {_word(new, key)}" for key in changed]


def check_origin(found: Checkpoint, here: Mapping[str, Any], prepared: Prepared) -> None:
    """Raise UsageError when recipe, data or model are not those that the checkpoint comes from."""
    was = found.origin
    if "recipe" in was:  # recipe.yaml may have been edited since; checkpoints of earlier versions have none
        try:
            before, now = (Recipe.model_validate(one["recipe"]) for one in (was, here))
        except ValidationError as error:
            raise UsageError(
                f"The recipe in {found.folder} is not of this version: {mistake(error.errors()[0])}.",
                "Resume with the version of prerlkit that wrote it (environment.json, versions).",
            ) from error
        _compare(before, now, str(found.folder))
    prompts_here = here["prompts"] if "prompts" in was else _earlier(prepared)
    prompts_then = was.get("prompts", was.get("data", {}))
    for part, digest in prompts_here.items():
        if prompts_then.get(part) != digest:
            what = f"{part} prompts" if part in ("train", "eval") else part
            raise UsageError(
                f"The {what} are not those that {found.folder} was made from: rows, their order, the template "
                "or the tokenizer changed.",
                "Put the data back as it was, or start a new run in another --output.",
            )
    for name, digest in was.get("plugins", {}).items():
        if here["plugins"].get(name, digest) != digest:
            raise UsageError(
                f"{name} is not the file that {found.folder} was made with: its content changed.",
                "Restore it, or start a new run in another --output.",
            )
    began, now_there = was.get("taken"), here.get("taken")
    if began and now_there and began["sha256"] != now_there["sha256"]:
        raise UsageError(
            f"{now_there['place']} is not the adapter that {found.folder} began with: its files changed.",
            "Restore it, or start a new run in another --output. Where it is gone, a run resumes with its own copy.",
        )
    if was.get("revision") != here["revision"]:
        raise UsageError(
            f"The model is at commit {here['revision']}, but this run was started at {was.get('revision')}.",
            f"Add --set model.revision={was.get('revision')}.",
        )


def check_steps(recipe: Recipe, found: Checkpoint, history: History) -> None:
    """Raise UsageError when a stage is now to have fewer steps than it has done, or a finished one others.

    Args:
        history: (stage, metrics) of the run's steps. A finished stage whose rule holds at its last one ended there.
    """
    position = found.position
    # Stages before this one are finished: how many steps they had is the rest of those that the run has done.
    earlier = sum(_ended_after(stage, history[: position.step]) for stage in recipe.stages[: position.stage])
    if earlier != position.step - position.stage_step:
        raise UsageError(
            f"steps of a finished stage can't change: the {position.stage} before this one did "
            f"{position.step - position.stage_step} together, the recipe now says {earlier}.",
            "Change the steps of the current or of later stages.",
        )
    stage = recipe.stages[position.stage]
    if stage.steps < position.stage_step:
        raise UsageError(
            f'stage "{stage.name}" has done {position.stage_step} steps; the recipe now gives it {stage.steps}.',
            "Give it at least as many.",
        )


def _ended_after(stage: Stage, history: History) -> int:
    """Return the steps of a finished stage: those planned, or those done when its rule ended it."""
    done = sum(name == stage.name for name, _ in history)
    return done if done < stage.steps and reached(stage, history) else stage.steps


_ABSENT = object()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value


def _word(leaves: Mapping[str, Any], key: str) -> str:
    return json.dumps(leaves[key], ensure_ascii=False) if key in leaves else "(absent)"


def _diff(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return the differing keys, `-` with the old value and `+` with the new one. The order of keys has no meaning."""
    lines = []
    for key in keys:
        lines += [f"- {key}: {_word(old, key)}"] if key in old else []
        lines += [f"+ {key}: {_word(new, key)}"] if key in new else []
    return "\n".join(lines[:30] + (["…"] if len(lines) > 30 else []))
