"""From a recipe's data section to tokenized prompts: two disjoint sets, and what was left out on the way, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prerlkit.data.difficulty import in_range, normal
from prerlkit.data.render import Renderer
from prerlkit.data.sources import load_rows, name
from prerlkit.data.template import keeps
from prerlkit.errors import UsageError
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.sources import Data, Filter, HeldOut, Source
from prerlkit.seeds import derive
from prerlkit.types import Prompt


@dataclass(frozen=True, slots=True)
class PromptSets:
    """The prompts of a run.

    Attributes:
        train: in source order; ids `train/<row of the source>`.
        eval: in source order, or in the order drawn when held out, so that its first n are a fair sample; ids
            `eval/<row of the source>`. No text of one set is in the other.
        notes: lines for a person: how many, what was dropped, what is worth knowing.
    """

    train: tuple[Prompt, ...]
    eval: tuple[Prompt, ...]
    notes: tuple[str, ...]


def build(
    data: Data,
    *,
    tokenizer: Any,
    max_prompt_tokens: int,
    long_prompts: Literal["error", "drop"],
    seed: int,
    folder: Path | None,
) -> PromptSets:
    """Load, filter, hold out, render, compare and tokenize, in this order.

    Args:
        tokenizer: a transformers tokenizer.
        max_prompt_tokens: the longest prompt allowed, in tokens, template included.
        long_prompts: what to do with a longer one.
        seed: the recipe's; decides which rows are held out.
        folder: the recipe's, for relative paths.

    Raises:
        UsageError: a source, column, template, answer, filter or length is wrong, or the two sets overlap.
        PrerlkitError: the Hub can't be reached, or an extra is not installed.
    """
    renderer = Renderer(data, tokenizer)
    notes = list(renderer.notes)
    if isinstance(data.eval, HeldOut):
        train, held_out = _split(data, renderer, _numbered("train", data.train, folder), seed, notes)
    else:
        train = renderer.draft(filtered(data.filters, _numbered("train", data.train, folder), notes))
        rows = _numbered("eval", data.eval, folder)
        held_out = renderer.draft(filtered(data.filters, rows, notes) if data.filter_eval else rows)
    train = in_range(data.pass_rate, train, folder, notes)[: data.max_rows or None]
    _refuse_overlap(train, held_out)
    sets = [
        fitting(renderer.tokenize(prompts), max_prompt_tokens, long_prompts, notes) for prompts in (train, held_out)
    ]
    if repeated := len(sets[0]) - len({normal(prompt.text) for prompt in sets[0]}):
        notes.append(f"{repeated:,} train prompts repeat an earlier one; each counts as a row of its own")
    notes.append(f"train {len(sets[0]):,} prompts, eval {len(sets[1]):,}, disjoint")
    return PromptSets(tuple(sets[0]), tuple(sets[1]), tuple(notes))


def build_for(recipe: Recipe, tokenizer: Any, folder: Path | None) -> PromptSets:
    """Return the prompts of a recipe; see `build`."""
    limits = recipe.rollout
    found = build(
        recipe.data,
        tokenizer=tokenizer,
        max_prompt_tokens=limits.max_prompt_tokens,
        long_prompts=limits.long_prompts,
        seed=recipe.seed,
        folder=folder,
    )
    most = max(stage.rollout.prompts_per_step for stage in recipe.stages)
    if most <= len(found.train):
        return found
    note = f"rollout.prompts_per_step {most:,} is more than the train prompts: each step draws some of them repeatedly"
    return replace(found, notes=(*found.notes, note))


def build_eval(
    data: Data, *, tokenizer: Any, max_prompt_tokens: int, long_prompts: Literal["error", "drop"], folder: Path | None
) -> tuple[tuple[Prompt, ...], tuple[str, ...]]:
    """Only the eval prompts, of a source of their own, and notes: for a policy that isn't trained here. See `build`.

    Raises:
        UsageError: as `build`, and where `data.eval` is held out of train, which only `build` can do.
    """
    if isinstance(data.eval, HeldOut):
        raise UsageError("data.eval is held out of train: it has no source of its own")
    renderer = Renderer(data, tokenizer)
    notes = list(renderer.notes)
    rows = _numbered("eval", data.eval, folder)
    drafts = renderer.draft(filtered(data.filters, rows, notes) if data.filter_eval else rows)
    return tuple(fitting(renderer.tokenize(drafts), max_prompt_tokens, long_prompts, notes)), tuple(notes)


Numbered = dict[str, dict[str, Any]]
"""Rows by id, in source order."""


def _numbered(which: str, source: Source, folder: Path | None) -> Numbered:
    return {f"{which}/{number}": row for number, row in enumerate(load_rows(source, folder=folder))}


def filtered(filters: Sequence[Filter], rows: Numbered, notes: list[str], key: str = "data.filters") -> Numbered:
    """Return the rows that fit all filters. Raises UsageError where none does. `key`: the recipe's, for the error."""
    kept = {where: row for where, row in rows.items() if all(keeps(rule, row, where) for rule in filters)}
    which = next(iter(rows)).split("/")[0]
    if not kept:
        raise UsageError(f"{key} keep none of the {len(rows):,} {which} rows")
    if len(kept) < len(rows):
        notes.append(f"filters left out {len(rows) - len(kept):,} of {len(rows):,} {which} rows")
    return kept


def _split(
    data: Data, renderer: Renderer, rows: Numbered, seed: int, notes: list[str]
) -> tuple[list[Prompt], list[Prompt]]:
    """Draw the held-out prompts by their text. All rows with that text leave train, so nothing of eval is trained on.

    Filters pick train rows only, unless filter_eval: so the draw comes before them, or after.
    """
    assert isinstance(data.eval, HeldOut)
    kept = filtered(data.filters, rows, notes)
    pool = renderer.draft(kept if data.filter_eval else rows)
    first = {normal(prompt.text): prompt for prompt in reversed(pool)}  # reversed: the earliest row of a text stays
    texts = sorted(first, key=lambda text: int(first[text].id.split("/")[1]))
    if len(texts) <= data.eval.rows:
        raise UsageError(
            f"data.eval: {data.eval.rows:,} rows can't be held out of {len(texts):,} different prompts in "
            f"{name(data.train)}: nothing would be left to train on",
            "Hold out fewer, or give eval a source of its own.",
        )
    draws = np.random.Philox(derive(seed, "held_out")).random_raw(len(texts))
    drawn = [texts[i] for i in np.argsort(draws, kind="stable")[: data.eval.rows]]
    held_out = [replace(first[text], id=first[text].id.replace("train/", "eval/")) for text in drawn]
    out = set(drawn)
    if copies := sum(normal(prompt.text) in out for prompt in pool) - len(out):
        notes.append(f"{copies:,} further rows with a held-out prompt were left out of train")
    train = [prompt for prompt in pool if prompt.id in kept and normal(prompt.text) not in out]
    if not train:
        raise UsageError("data.filters keep no train row beside the held-out ones", "Hold out fewer rows.")
    return train, held_out


def _refuse_overlap(train: Sequence[Prompt], held_out: Sequence[Prompt]) -> None:
    seen = {normal(prompt.text): prompt.id for prompt in reversed(train)}
    both = [prompt for prompt in held_out if normal(prompt.text) in seen]
    if both:
        text = both[0].text if len(both[0].text) <= 300 else both[0].text[:300] + " …"
        raise UsageError(
            f"{len(both):,} of {len(held_out):,} eval prompts are also in train, so that eval would measure memory. "
            f"For instance {both[0].id} is {seen[normal(both[0].text)]}: {text!r}",
            "Give eval another split, file or range of settings, or take it out of train: "
            f"eval: {{kind: held_out, rows: {len(held_out)}}}.",
        )


def fitting(prompts: list[Prompt], most: int, long_prompts: Literal["error", "drop"], notes: list[str]) -> list[Prompt]:
    """Return the prompts of at most `most` tokens. Raises UsageError for longer ones, unless they are dropped."""
    fitting = [prompt for prompt in prompts if len(prompt.token_ids) <= most]
    if len(fitting) == len(prompts):
        return prompts
    longest = max(prompts, key=lambda prompt: len(prompt.token_ids))
    which = longest.id.split("/")[0]
    if long_prompts == "error" or not fitting:
        raise UsageError(
            f"{len(prompts) - len(fitting):,} of {len(prompts):,} {which} prompts are longer than "
            f"rollout.max_prompt_tokens ({most:,}); the longest is {longest.id} with {len(longest.token_ids):,} tokens",
            f"Set rollout.max_prompt_tokens: {len(longest.token_ids)}"
            + (", or rollout.long_prompts: drop to go without them." if fitting else "."),
        )
    notes.append(
        f"dropped {len(prompts) - len(fitting):,} of {len(prompts):,} {which} prompts over {most:,} tokens "
        f"(the longest: {longest.id}, {len(longest.token_ids):,})"
    )
    return fitting
