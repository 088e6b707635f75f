"""Demonstrations of a supervised stage: from rows, or from an evaluation's passed samples, to tokenized answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prerlkit.data import files
from prerlkit.data.difficulty import not_an_evaluation
from prerlkit.data.prompt_set import no_tokens, normal
from prerlkit.data.prompts import PromptSets, filtered, note_long
from prerlkit.data.render import Renderer
from prerlkit.data.sources import find_file, load_rows, name
from prerlkit.data.template import Row, Template, column, is_missing
from prerlkit.errors import UsageError
from prerlkit.recipe.demonstrations import Demonstrations
from prerlkit.recipe.schema import Recipe, Stage
from prerlkit.types import Completion, Group, Prompt, Verdict

_SHOWN = 5
"""Rows that an error names."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the text of its demonstrated answer."""

    prompt: Prompt
    answer: str


def build_demonstrations(
    recipe: Recipe, prompts: PromptSets, *, tokenizer: Any, end_id: int, folder: Path | None
) -> tuple[dict[str, tuple[Group, ...]], tuple[str, ...]]:
    """Return the demonstrations of each supervised stage by its name, and lines for a person.

    A demonstration is a group of one completion that passed. Its log-probs are missing: no policy sampled it.

    Args:
        prompts: the run's. Nothing of eval becomes a demonstration.
        tokenizer: a transformers tokenizer.
        end_id: the token that ends each answer.
        folder: the recipe's, for relative paths.

    Raises:
        UsageError: a source, column, template or file is wrong, an answer is missing or too long, or nothing remains.
        PrerlkitError: the Hub can't be reached, or an extra is not installed.
    """
    found, notes = {}, list[str]()
    for stage in recipe.stages:
        if stage.demonstrations is None or stage.source is not None:
            continue
        maker = _Maker(recipe, stage, stage.demonstrations, tokenizer, end_id, folder)
        found[stage.name] = maker.make(prompts)
        notes += maker.notes
    return found, tuple(notes)


class _Maker:
    """Makes the demonstrations of one stage."""

    def __init__(
        self, recipe: Recipe, stage: Stage, own: Demonstrations, tokenizer: Any, end_id: int, folder: Path | None
    ) -> None:
        self._recipe = recipe
        self._stage = stage
        self._own = own
        self._tokenizer = tokenizer
        self._end_id = end_id
        self._folder = folder
        self._key = f'stages: "{stage.name}".demonstrations'
        self.notes: list[str] = []

    def make(self, prompts: PromptSets) -> tuple[Group, ...]:
        if self._own.samples is not None:
            answered = self._passed(self._own.samples, prompts.train)
        elif self._own.source is None:
            answered = self._of_rows(prompts.train)
        else:
            answered = self._without_eval(self._of_source(), prompts.eval)
        groups = self._tokenized(answered[: self._own.max_rows or None])
        per_step = self._stage.rollout.prompts_per_step
        self.notes.append(
            f'stage "{self._stage.name}": {len(groups):,} demonstrations, '
            f"{sum(len(g.completions[0].token_ids) for g in groups):,} tokens of answers; {self._stage.steps} steps of "
            f"{per_step} are {self._stage.steps * per_step / len(groups):.3g} passes over them"
        )
        return groups

    def _of_rows(self, prompts: Iterable[Prompt]) -> list[Answered]:
        """Return each prompt with the text that `completion` makes of its row."""
        template = Template(self._own.completion, f"{self._key}.completion")
        return self._complete((prompt, _filled(template, prompt.row, prompt.id)) for prompt in prompts)

    def _of_source(self) -> list[Answered]:
        assert self._own.source is not None
        data = self._recipe.data
        renderer = Renderer(data, self._tokenizer)
        rows = {f"demonstrations/{n}": row for n, row in enumerate(load_rows(self._own.source, folder=self._folder))}
        rows = filtered(self._own.filters, rows, self.notes, f"{self._key}.filters")
        if self._own.messages is not None:
            if not data.chat:
                raise UsageError(f"{self._key}.messages goes with data.chat: true", "Name prompt and completion.")
            turns = {where: _turns(row, self._own.messages, where, self._key) for where, row in rows.items()}
            texts = renderer.render_turns({where: before for where, (before, _) in turns.items()})
            return self._complete(
                (Prompt(where, text, (), None, rows[where]), answer)
                for text, (where, (_, answer)) in zip(texts, turns.items(), strict=True)
            )
        own = self._own.prompt
        template = Template(data.prompt) if own is None else Template(own, f"{self._key}.prompt")
        texts = renderer.render_texts({where: template.fill(row, where) for where, row in rows.items()})
        return self._of_rows(
            Prompt(where, text, (), None, row) for text, (where, row) in zip(texts, rows.items(), strict=True)
        )

    def _complete(self, pairs: Iterable[tuple[Prompt, str]]) -> list[Answered]:
        """Return the pairs. Raise UsageError where an answer is empty."""
        answered = [Answered(prompt, answer) for prompt, answer in pairs]
        if empty := [one.prompt.id for one in answered if not one.answer.strip()]:
            more = ", …" if len(empty) > _SHOWN else ""
            column_of = self._own.messages or self._own.completion
            raise UsageError(
                f"{self._key}: {len(empty):,} of {len(answered):,} rows have no answer in {column_of}: row"
                f"{'s' if len(empty) > 1 else ''} {', '.join(empty[:_SHOWN])}{more}",
                "Add their answers, or leave the rows out by a filter: "
                + ("demonstrations.filters." if self._own.source else "data.filters."),
            )
        return answered

    def _passed(self, samples: str, prompts: Sequence[Prompt]) -> list[Answered]:
        """Return the train prompts with their passed completions in an evaluation, in the prompts' order."""
        texts = passed_texts(find_file(samples, self._folder), self._own.per_prompt)
        known = [prompt for prompt in prompts if normal(prompt.text) in texts]
        answered = [Answered(prompt, text) for prompt in known for text in texts[normal(prompt.text)]]
        if not known:
            raise UsageError(
                f"{self._key}: {samples} has none of the {len(prompts):,} train prompts",
                "Evaluate the train rows with this recipe's prompt, system and chat settings "
                "(docs/algorithms.md, Supervised stages).",
            )
        if not answered:
            raise UsageError(
                f"{self._key}: no completion in {samples} passed and came to its end",
                "Take more samples: prerlkit eval --samples.",
            )
        learned = sum(bool(texts[normal(prompt.text)]) for prompt in known)
        self.notes.append(
            f'stage "{self._stage.name}": {learned:,} of {len(prompts):,} train prompts have a passed completion in '
            f"{samples}"
        )
        return answered

    def _without_eval(self, answered: list[Answered], held_out: Sequence[Prompt]) -> list[Answered]:
        """Return the demonstrations whose prompt isn't in eval; otherwise eval would measure memory."""
        assert self._own.source is not None
        eval_texts = {normal(prompt.text) for prompt in held_out}
        kept = [one for one in answered if normal(one.prompt.text) not in eval_texts]
        if not kept:
            raise UsageError(
                f"{self._key}: every prompt of {name(self._own.source)} is an eval prompt", "Take other rows."
            )
        if len(kept) < len(answered):
            self.notes.append(
                f'stage "{self._stage.name}": left out {len(answered) - len(kept):,} of {len(answered):,} '
                "demonstrations, whose prompts are in eval"
            )
        return kept

    def _tokenized(self, answered: Sequence[Answered]) -> tuple[Group, ...]:
        """Tokenize the demonstrations; leave out those that are too long, or raise UsageError."""
        prompts = []
        ids = Renderer(self._recipe.data, self._tokenizer).tokenize([one.prompt.text for one in answered])
        for one, own in zip(answered, ids, strict=True):
            if not own:
                raise no_tokens(one.prompt.id, one.prompt.text)
            prompts.append(replace(one.prompt, token_ids=tuple(own)))
        completions = self._completions(prompts, [one.answer for one in answered])
        rollout = self._stage.rollout
        most = rollout.max_prompt_tokens
        if long := [(p.id, len(p.token_ids)) for p in prompts if len(p.token_ids) > most]:
            note_long(long, len(prompts), most, rollout.long_prompts, self.notes)
        groups = [
            Group(prompt, (completion,), (Verdict.of(True, "demonstration"),))
            for prompt, completion in zip(prompts, completions, strict=True)
            if len(prompt.token_ids) <= most
        ]
        return self._short_answers(groups, rollout.max_new_tokens)

    def _completions(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Completion]:
        """Return the answers as tokens, the end token included.

        Tokens are those of prompt and answer in one text. Where these do not begin with the prompt's own (a token
        crosses the border), the answer is tokenized alone, as a policy that samples must begin a new token there.
        """
        texts = [prompt.text + answer for prompt, answer in zip(prompts, answers, strict=True)]
        special = not self._recipe.data.chat
        together = self._tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]
        alone = self._tokenizer(list(answers), add_special_tokens=False, verbose=False)["input_ids"]
        completions = []
        for prompt, answer, whole, own in zip(prompts, answers, together, alone, strict=True):
            border = len(prompt.token_ids)
            ids = tuple(whole[border:] if tuple(whole[:border]) == prompt.token_ids else own)
            ids = ids if ids[-1:] == (self._end_id,) else (*ids, self._end_id)
            completions.append(Completion(ids, answer, (), truncated=False))
        return completions

    def _short_answers(self, groups: list[Group], most: int) -> tuple[Group, ...]:
        kept = tuple(group for group in groups if len(group.completions[0].token_ids) <= most)
        if len(kept) == len(groups):
            return kept
        longest = max(groups, key=lambda group: len(group.completions[0].token_ids))
        tokens = len(longest.completions[0].token_ids)
        if self._own.long_answers == "error" or not kept:
            raise UsageError(
                f"{self._key}: {len(groups) - len(kept):,} of {len(groups):,} answers are longer than the stage's "
                f"rollout.max_new_tokens ({most:,}); the longest is that of row {longest.prompt.id} with {tokens:,} "
                "tokens",
                f"Set the stage's rollout.max_new_tokens: {tokens}"
                + (", or demonstrations.long_answers: drop to go without them." if kept else "."),
            )
        self.notes.append(
            f'stage "{self._stage.name}": dropped {len(groups) - len(kept):,} of {len(groups):,} answers over '
            f"{most:,} tokens (the longest: row {longest.prompt.id}, {tokens:,})"
        )
        return kept


def _filled(template: Template, row: Row, where: str) -> str:
    """Return the template's text; "" where one of its columns is empty."""
    if any(key in row and (is_missing(row[key]) or row[key] == "") for key in template.columns):
        return ""
    return template.fill(row, where)


def _turns(row: Row, key: str, where: str, setting: str) -> tuple[list[dict[str, Any]], str]:
    """Return the messages before the answer, and the answer; "" where the last message is not an assistant's text."""
    turns = column(row, key, where, f"{setting}.messages")
    if not (
        isinstance(turns, list)
        and len(turns) > 1
        and all(isinstance(turn, Mapping) and isinstance(turn.get("role"), str) for turn in turns)
    ):
        raise UsageError(
            f'{setting}.messages: row {where}, column "{key}" is no list of two or more messages with role and content'
        )
    *before, last = turns
    answer = last.get("content") if last["role"] == "assistant" else None
    return [dict(turn) for turn in before], answer if isinstance(answer, str) else ""


def passed_texts(path: Path, most: int) -> dict[str, list[str]]:
    """Return up to `most` different completions that passed, by the prompt's normalized text, in the file's order.

    Completions that the token limit cut are left out: they have no end to learn. A prompt may have none.

    Raises:
        UsageError: the file can't be read, or a line is not what `prerlkit eval` writes.
    """
    found: dict[str, dict[str, None]] = {}
    for number, line in enumerate(files.read(path), start=1):
        try:
            own = found.setdefault(normal(line["prompt"]), {})
            texts = [str(one["text"]) for one in line["completions"] if one["passed"] and not one["truncated"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise not_an_evaluation(path, number, error) from None
        own.update((text, None) for text in texts if text.strip())
    return {prompt: list(texts)[:most] for prompt, texts in found.items()}
