"""Makes tokenized prompts from a recipe's data section: two disjoint sets, and notes on prompts left out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prerlkit.data.difficulty import in_range
from prerlkit.data.prompt_set import AT_ONCE, Drafts, PromptSet
from prerlkit.data.render import Renderer
from prerlkit.data.sources import Row, iter_rows, name
from prerlkit.data.template import each, fits_all
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
        notes: lines for the user: numbers of prompts, dropped prompts, warnings.
    """

    train: PromptSet
    eval: PromptSet
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
    source = partial(_Rows, data, renderer, folder, max_prompt_tokens)
    if isinstance(data.eval, HeldOut):
        train, held_out = _split(data, source("train", data.train, not data.filter_eval), seed, notes)
    else:
        train = source("train", data.train).kept(notes)
        held_out = source("eval", data.eval, not data.filter_eval).eval(notes)
    if data.pass_rate:
        train = train.take(np.array(in_range(data.pass_rate, train.texts(), folder, notes), dtype=np.int64))
    train = train.take(np.arange(min(len(train), data.max_rows or len(train))))
    _refuse_overlap(train, held_out)
    train, held_out = (_fitting(prompts, max_prompt_tokens, long_prompts, notes) for prompts in (train, held_out))
    if repeated := len(train) - len(np.unique(train.keys)):
        notes.append(f"{repeated:,} train prompts repeat an earlier one; each counts as a separate row")
    notes.append(f"train {len(train):,} prompts, eval {len(held_out):,}, disjoint")
    return PromptSets(train, held_out, tuple(notes))


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
    """Return the eval prompts of a separate source, and notes: for a policy that isn't trained here. See `build`.

    Raises:
        UsageError: as `build`, and where `data.eval` is held out of train, which only `build` can do.
    """
    if isinstance(data.eval, HeldOut):
        raise UsageError("data.eval is held out of train: it has no separate source")
    renderer = Renderer(data, tokenizer)
    notes = list(renderer.notes)
    rows = _Rows(data, renderer, folder, max_prompt_tokens, "eval", data.eval, not data.filter_eval)
    return tuple(_fitting(rows.eval(notes), max_prompt_tokens, long_prompts, notes)), tuple(notes)


class _Rows:
    """The rows of a source, filtered and rendered while they are read: only some thousand are in memory.

    Args:
        whole: render the rows that the filters leave out too.
    """

    def __init__(
        self,
        data: Data,
        renderer: Renderer,
        folder: Path | None,
        most: int,
        which: str,
        source: Source,
        whole: bool = False,
    ) -> None:
        self._data, self._which = data, which
        drafts, fits = Drafts(), array("b")
        self._count = 0
        for part in _chunks(enumerate(iter_rows(source, folder=folder))):
            self._count += len(part)
            rows = {f"{which}/{number}": row for number, row in part}
            keep = each(rows, "data.filters", fits_all(data.filters))
            wanted = {where: row for (where, row), kept in zip(rows.items(), keep, strict=True) if kept or whole}
            numbers = [number for (number, _), kept in zip(part, keep, strict=True) if kept or whole]
            fits.extend(kept for kept in keep if kept or whole)
            for number, row, (text, answer) in zip(numbers, wanted.values(), renderer.render_rows(wanted), strict=True):
                drafts.append(number, text, answer, row)
        self._fits = np.array(fits, dtype=bool)
        self.all = PromptSet(which, drafts, np.arange(len(drafts.numbers)), renderer.tokenize, most)

    def kept(self, notes: list[str]) -> PromptSet:
        """Return the prompts whose rows fit the filters. Raises UsageError when none does."""
        _note_filtered(int(self._fits.sum()), self._count, self._which, notes)
        return self.all.take(np.flatnonzero(self._fits))

    def eval(self, notes: list[str]) -> PromptSet:
        """Return the prompts of an eval source: all, or those that the filters keep with `filter_eval`."""
        return self.kept(notes) if self._data.filter_eval else self.all


def _chunks(rows: Iterator[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    while part := list(islice(rows, AT_ONCE)):
        yield part


def filtered(filters: Sequence[Filter], rows: Mapping[str, Row], notes: list[str], key: str) -> dict[str, Row]:
    """Return the rows that fit all filters. Raises UsageError where none does. `key`: the recipe's, for the error."""
    fit = each(rows, key, fits_all(filters))
    kept = {where: row for (where, row), fits in zip(rows.items(), fit, strict=True) if fits}
    _note_filtered(len(kept), len(rows), next(iter(rows)).split("/")[0], notes, key)
    return kept


def _note_filtered(kept: int, count: int, which: str, notes: list[str], key: str = "data.filters") -> None:
    if not kept:
        raise UsageError(f"{key} keep none of the {count:,} {which} rows")
    if kept < count:
        notes.append(f"filters left out {count - kept:,} of {count:,} {which} rows")


def _split(data: Data, rows: _Rows, seed: int, notes: list[str]) -> tuple[PromptSet, PromptSet]:
    """Draw the held-out prompts by their text. All rows with that text leave train, so no eval prompt is trained on.

    Filters pick train rows only, so the draw comes before them; with filter_eval it comes after them.
    """
    assert isinstance(data.eval, HeldOut)
    kept = rows.kept(notes)
    pool = kept if data.filter_eval else rows.all
    _, first = np.unique(pool.keys, return_index=True)  # the earliest row of each text
    first.sort()
    if len(first) <= data.eval.rows:
        raise UsageError(
            f"data.eval: {data.eval.rows:,} rows can't be held out of {len(first):,} different prompts in "
            f"{name(data.train)}: nothing would be left to train on",
            "Hold out fewer, or give eval a separate source.",
        )
    draws = np.random.Philox(derive(seed, "held_out")).random_raw(len(first))
    held_out = pool.take(first[np.argsort(draws, kind="stable")[: data.eval.rows]], "eval")
    if copies := int(np.isin(pool.keys, held_out.keys, kind="sort").sum()) - len(held_out):
        notes.append(f"{copies:,} further rows with a held-out prompt were left out of train")
    train = kept.take(np.flatnonzero(~np.isin(kept.keys, held_out.keys, kind="sort")))
    if not train:
        raise UsageError("data.filters keep no train row except the held-out ones", "Hold out fewer rows.")
    return train, held_out


def _refuse_overlap(train: PromptSet, held_out: PromptSet) -> None:
    both = np.flatnonzero(np.isin(held_out.keys, train.keys, kind="sort"))
    if len(both):
        example = int(both[0])
        in_train = int(np.flatnonzero(train.keys == held_out.keys[example])[0])
        text = next(held_out.take(both[:1]).texts())
        text = text if len(text) <= 300 else text[:300] + " …"
        raise UsageError(
            f"{len(both):,} of {len(held_out):,} eval prompts are also in train, so that eval would measure memory. "
            f"For instance {held_out.id(example)} is {train.id(in_train)}: {text!r}",
            "Give eval another split, file or range of settings, or take it out of train: "
            f"eval: {{kind: held_out, rows: {len(held_out)}}}.",
        )


def _fitting(prompts: PromptSet, most: int, long_prompts: Literal["error", "drop"], notes: list[str]) -> PromptSet:
    """Return the prompts of at most `most` tokens. Raises UsageError for longer ones, unless they are dropped."""
    long = prompts.lengths_above(most)
    if not long:
        return prompts
    note_long([(prompts.id(index), tokens) for index, tokens in long.items()], len(prompts), most, long_prompts, notes)
    return prompts.take(np.setdiff1d(np.arange(len(prompts)), list(long)))


def note_long(
    long: Sequence[tuple[str, int]], count: int, most: int, long_prompts: Literal["error", "drop"], notes: list[str]
) -> None:
    """Note that prompts of more than `most` tokens are dropped. Raises UsageError unless they are, or if all are long.

    Args:
        long: id and tokens of each long prompt; not empty.
        count: how many prompts there are, with the long ones.
    """
    longest, tokens = max(long, key=lambda one: one[1])
    which = longest.split("/")[0]
    if long_prompts == "error" or len(long) == count:
        raise UsageError(
            f"{len(long):,} of {count:,} {which} prompts are longer than "
            f"rollout.max_prompt_tokens ({most:,}); the longest is {longest} with {tokens:,} tokens",
            f"Set rollout.max_prompt_tokens: {tokens}"
            + (", or rollout.long_prompts: drop to go without them." if len(long) < count else "."),
        )
    notes.append(
        f"dropped {len(long):,} of {count:,} {which} prompts over {most:,} tokens (the longest: {longest}, {tokens:,})"
    )
