"""Turns a row into a prompt: fills the template, applies the chat template, tokenizes once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from prerlkit import chat
from prerlkit.data.template import Answer, Row, Template, each
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import Data


class Renderer:
    """Renders and tokenizes as `data` says.

    Args:
        data: the recipe's data section.
        tokenizer: a transformers tokenizer.

    Attributes:
        notes: lines for a person about the template.

    Raises:
        UsageError: chat: true without a chat template, chat settings with chat: false, a malformed template or pattern.
    """

    def __init__(self, data: Data, tokenizer: Any) -> None:
        self._data = data
        self._tokenizer = tokenizer
        self._template = Template(data.prompt)
        self._answer = Answer(data.answer, data.answer_pattern)
        self.notes = _check_chat(data, tokenizer)

    def render_rows(self, rows: Mapping[str, Row]) -> list[tuple[str, str | None]]:
        """Return text and answer of each row; rows by their names in messages (`train/17`)."""
        texts = {where: self._template.fill(row, where) for where, row in rows.items()}
        answers = each(rows, "data.answer_pattern", self._answer.of)
        return list(zip(self.render_texts(texts), answers, strict=True))

    def render_texts(self, texts: Mapping[str, str]) -> list[str]:
        """Return each text as a prompt: as the user's turn of the chat template, or unchanged. Texts by their rows."""
        if not self._data.chat:
            return list(texts.values())
        return self.render_turns({where: [{"role": "user", "content": text}] for where, text in texts.items()})

    def render_turns(self, turns: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        """Return messages in the chat template, up to the beginning of the answer; `data.system` precedes them.

        Messages that begin with a system prompt keep their own. Messages by their rows. One call for all takes a
        quarter less time than a call for each.

        Raises:
            UsageError: the template refuses a row, or takes too much time or memory (`prerlkit.chat`).
        """
        rows = iter(turns.items())
        return [text for part in iter(lambda: dict(islice(rows, chat.AT_ONCE)), {}) for text in self._part(part)]

    def _part(self, turns: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
        with chat.limits():
            try:
                return self._chat(list(turns.values()))
            except chat.errors():
                pass  # which one?
            rendered = []
            for where, messages in turns.items():
                try:
                    rendered += self._chat([messages])
                except chat.errors() as error:
                    raise UsageError(
                        f"row {where}: the tokenizer's chat template refuses it: {chat.shown(error)}",
                        "Some templates take no system prompt: put its text into data.prompt and set data.system: "
                        "null.",
                    ) from error
            return rendered

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text.

        A chat template writes its own BOS, so none is added to it; plain text gets what the tokenizer adds to any text.
        """
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=not self._data.chat, verbose=False)[
            "input_ids"
        ]
        return ids

    def _chat(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
        if not conversations:
            return []
        system = [] if self._data.system is None else [{"role": "system", "content": self._data.system}]
        whole = [[*([] if turns[0].get("role") == "system" else system), *turns] for turns in conversations]
        options = self._data.template_options
        return chat.render(self._tokenizer, whole, add_generation_prompt=True, **options)


def _check_chat(data: Data, tokenizer: Any) -> list[str]:
    """Return notes about the template options; UsageError where chat settings and tokenizer don't fit together."""
    if not data.chat:
        for key, value in (("system", data.system), ("template_options", data.template_options)):
            if value:
                raise UsageError(f"data.{key} goes with data.chat: true")
        return []
    if not tokenizer.chat_template:
        raise UsageError(
            "data.chat is true, but the model's tokenizer has no chat template",
            "Set data.chat: false or use an instruct model.",
        )
    own = inspect.signature(tokenizer.apply_chat_template).parameters
    template = tokenizer.get_chat_template()
    notes = []
    for key in data.template_options:
        if key in own:
            raise UsageError(f"data.template_options: {key} is not the template's but transformers' own")
        if key not in template:
            notes.append(f"data.template_options: the chat template never mentions {key}")
    return notes
