"""A recipe to start from, with comments, for a file of rows: `prerlkit recipes init --data`."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prerlkit.data.sources import find_file, iter_rows
from prerlkit.data.template import Answer, Template, is_missing, nearest_column
from prerlkit.errors import UsageError
from prerlkit.plugins import is_file, located
from prerlkit.recipe.explain import explain
from prerlkit.recipe.load import load
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import FileSource
from prerlkit.recipe.yaml_text import WrongYamlError, read
from prerlkit.train.validate import check_settings
from prerlkit.trust import ForeignCode, left_out

_LOOKED_AT = 10_000
"""Rows that are read: enough for the columns and the lengths, and a second's work."""
_PROMPTS = ("question", "prompt", "problem", "instruction", "input", "query", "text")
_TEXT = """\
# A recipe of your own, for the rows of {file}. Every key is in docs/recipes.md.
#
#   prerlkit run {command} --dry-run    # a prompt as the model sees it, the gold answers tried, the memory
#   prerlkit run {command}
name: {name}
version: 1
seed: 0

model:
{model}

adapter:
  rank: 16
  alpha: 32

data:
  train: {{kind: file, path: {path}}}
  eval: {{kind: held_out, rows: {held_out}}}   # taken out of train; or a second file, as train
  prompt: {prompt}   # {{column}} is filled from the row
  answer: {answer}   # the column of the gold answer
{pattern}
verifiers:
  - {verifier}   # `prerlkit verifiers list` names the others

rollout:
  group_size: 8          # completions of each prompt
  prompts_per_step: {prompts}
  max_prompt_tokens: {prompt_tokens}   # about twice what the longest prompt of the file takes
  max_new_tokens: 256    # completions are cut here: give a model that reasons more

stages:
  - name: warmup
    objective: nsr-prerl     # push down wrong answers in log P(y), without their prompts
    steps: 5
    learning_rate: 3.0e-5    # `prerlkit dose` measures what it does
    guard: {{pass_rate: 0.5}}   # a collapse ends the stage, and the last good adapter is restored
  - name: rl
    objective: grpo          # a fresh adapter on top of the frozen first one
    steps: 25
    learning_rate: 1.0e-4
"""


@dataclass(frozen=True, slots=True)
class StartingRecipe:
    """A recipe that validates. `unchecked`: code that its check would have run, and that the user has not allowed."""

    text: str
    unchecked: Sequence[ForeignCode]


def starting_recipe(
    target: Path, data: Path, *, answer: str | None, verifier: str, prompt: str | None, model: str | None
) -> StartingRecipe:
    """Return the recipe for the rows of the file `data`.

    Args:
        target: the file that the recipe will be in.
        answer: the column of the gold answer; None: the verifier needs none.
        verifier: a name, or `{name: …, settings: {…}}`.
        prompt: the column of the question, or a text with `{column}`; None: guessed from the columns' names.
        model: its id; None: that of the quickstart.

    Raises:
        UsageError: the file can't be read, has no such column or too few rows, or the verifier's settings are wrong.
    """
    file = find_file(str(data), None)
    rows = list(itertools.islice(iter_rows(FileSource(kind="file", path=str(file)), folder=None), _LOOKED_AT))
    if len(rows) < 2:
        raise UsageError(f"{data} has one row.", "Some rows are held out for evaluation: give a file with more.")
    columns = list(dict.fromkeys(key for row in rows[:100] for key in row))
    if answer is not None:
        _check_column("--answer", answer, columns, data)
    template = _template(prompt, answer, columns, data)
    chosen = _verifier(verifier, target)
    if chosen.get("name") == "math" and (prompt is None or prompt in columns or "{" not in prompt):
        template += r" Put the final answer in \boxed{{}}."
    pattern = _pattern(rows, answer)
    _try(rows, template, answer, pattern, columns, data)
    held_out = max(1, min(200, len(rows) // 5))
    longest = max(len(str(value)) for row in rows for value in row.values())
    text = _TEXT.format(
        file=file.name,
        command=shlex.quote(str(target)),
        name=json.dumps(recipe_name(target)),
        model=_model(model),
        path=json.dumps(_path(file, target), ensure_ascii=False),
        held_out=held_out,
        prompt=json.dumps(template, ensure_ascii=False),
        answer=json.dumps(answer, ensure_ascii=False),
        pattern=f"  answer_pattern: {json.dumps(pattern)}   # its first group is the answer within that column\n"
        if pattern
        else "",
        verifier=json.dumps(chosen, ensure_ascii=False),
        prompts=min(8, len(rows) - held_out),
        prompt_tokens=min(2048, 64 * (2 + longest // 96)),
    )
    try:
        recipe = Recipe.model_validate(read(text))
    except ValidationError as error:
        raise UsageError(explain(error, target, read(text, with_lines=True), ())) from None
    unchecked = left_out(recipe, target.parent, False)
    check_settings(recipe, target.parent, unchecked)
    return StartingRecipe(text, unchecked)


def recipe_name(target: Path) -> str:
    """Return a name that a recipe may have, from its file's: letters, digits, `_`, `-` and `.`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", target.stem).strip("-_.") or "recipe"


def _try(
    rows: Sequence[Mapping[str, Any]],
    template: str,
    answer: str | None,
    pattern: str | None,
    columns: Sequence[str],
    data: Path,
) -> None:
    """Raise UsageError where no row could be rendered: the first one that has all its values is."""
    form = Template(template, "--prompt")
    for name in form.columns:
        _check_column("--prompt", name, columns, data)
    needed = [*form.columns, *([] if answer is None else [answer])]
    for number, row in enumerate(rows):
        if not any(is_missing(row.get(name)) for name in needed):
            form.fill(row, str(number))
            Answer(answer, pattern).of(row, str(number))
            return
    raise UsageError(f"No row of {data} has a value in each of {', '.join(needed)}.", "Name other columns.")


def _check_column(option: str, name: str, columns: Sequence[str], data: Path) -> None:
    if name not in columns:
        if len(columns) == 1 and re.search(r"[;\t]", columns[0]):
            raise UsageError(
                f"{option}: {data} has one column, {columns[0]!r}", "Save it with commas between the values."
            )
        near = nearest_column(name, columns)
        known = "" if near.startswith(" (known") else f" Its columns are {', '.join(columns)}."
        raise UsageError(f"{option}: {data} has no column {name}{near}", f"Name a column of the file.{known}")


def _template(prompt: str | None, answer: str | None, columns: Sequence[str], data: Path) -> str:
    if prompt is not None and "{" in prompt and prompt not in columns:
        return prompt
    if prompt is not None:
        _check_column("--prompt", prompt, columns, data)
        return f"{{{prompt}}}"
    others = [name for name in columns if name != answer]
    found = next((name for name in _PROMPTS if name in others), None) or (others[0] if len(others) == 1 else None)
    if found is None:
        raise UsageError(
            f"Which column of {data} is the question? It has {', '.join(columns)}.", "Add --prompt COLUMN."
        )
    return f"{{{found}}}"


def _verifier(text: str, target: Path) -> dict[str, Any]:
    chosen: dict[str, Any] = {"name": text}
    if text.lstrip().startswith("{"):
        try:
            chosen = dict(read(text))
        except WrongYamlError as error:
            raise UsageError(f"--verifier: {text[:200]} is not YAML: {error}") from None
    if is_file(chosen.get("name")):
        file, _, attribute = located(chosen["name"], target.parent, "--verifier").rpartition(":")
        chosen["name"] = f"{_path(Path(file), target)}:{attribute}"
    return chosen


def _model(name: str | None) -> str:
    if name is not None and not name.strip():
        raise UsageError("--model is empty.", "Give a Hub id or a folder.")
    if name is not None:
        return f"  id: {json.dumps(name)}   # a Hub id or a folder; `quantization: nf4` takes a quarter of the memory"
    model = load("quickstart_dsrl").recipe.model
    return f"  id: {json.dumps(model.id)}   # a small one for a try; a Hub id or a folder\n  sha256: {model.sha256}"


def _path(file: Path, target: Path) -> str:
    """Return the file's path for the recipe: from the recipe's folder where it is in there."""
    folder = target.resolve().parent
    resolved = file.resolve()
    return os.path.relpath(resolved, folder) if resolved.is_relative_to(folder) else str(resolved)


def _pattern(rows: Sequence[Mapping[str, Any]], answer: str | None) -> str | None:
    """Return the pattern of GSM8K's form of answers, a solution that ends with `#### 4`; None for other answers."""
    found = answer is not None and all("####" in str(row.get(answer, "")) for row in rows)
    return "#### (.*)" if found else None
