"""A row's way to a prompt: fill the template, put it in the chat's form, tokenize it once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from prerlkit.data.template import Answer, Template
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

    def render(self, rows: Mapping[str, dict[str, Any]]) -> list[tuple[str, str | None]]:
        """Return text and answer of each row; rows by their names in messages (`train/17`)."""
        texts = [self._template.fill(row, where) for where, row in rows.items()]
        answers = [self._answer.of(row, where) for where, row in rows.items()]
        if self._data.chat:
            texts = self._in_turns(dict(zip(rows, texts, strict=True)))
        return list(zip(texts, answers, strict=True))

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

    def _in_turns(self, texts: Mapping[str, str]) -> list[str]:
        """Return each text as the user's turn. One call for all takes a quarter less time than a call for each."""
        from jinja2 import TemplateError

        try:
            return self._chat(list(texts.values()))
        except (TemplateError, TypeError, ValueError):
            pass  # which one?
        rendered = []
        for where, text in texts.items():
            try:
                rendered += self._chat([text])
            except (TemplateError, TypeError, ValueError) as error:
                raise UsageError(
                    f"row {where}: the tokenizer's chat template refuses it: {error}",
                    "Some templates take no system prompt: put its text into data.prompt and set data.system: null.",
                ) from error
        return rendered

    def _chat(self, texts: list[str]) -> list[str]:
        system = [] if self._data.system is None else [{"role": "system", "content": self._data.system}]
        turns = [[*system, {"role": "user", "content": text}] for text in texts]
        options = self._data.template_options
        rendered = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **options)
        return [str(one) for one in rendered]


def _check_chat(data: Data, tokenizer: Any) -> list[str]:
    """Notes about the template options; UsageError where chat settings and tokenizer don't go together."""
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
