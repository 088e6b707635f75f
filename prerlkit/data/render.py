"""A row's way to a prompt: fill the template, put it in the chat's form, tokenize it once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prerlkit.data.template import Answer, Template
from prerlkit.errors import UsageError
from prerlkit.recipe.sources import Data
from prerlkit.types import Prompt


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

    def draft(self, rows: Mapping[str, dict[str, Any]]) -> list[Prompt]:
        """Prompts with their text and answer, not tokenized yet, from rows by id."""
        return [
            Prompt(where, self._render(row, where), (), self._answer.of(row, where), row) for where, row in rows.items()
        ]

    def tokenize(self, prompts: list[Prompt]) -> list[Prompt]:
        """The same prompts with their tokens.

        A chat template writes its own BOS, so none is added to it; plain text gets what the tokenizer adds to any text.
        """
        texts = [prompt.text for prompt in prompts]
        ids = self._tokenizer(texts, add_special_tokens=not self._data.chat, verbose=False)["input_ids"]
        for prompt, own in zip(prompts, ids, strict=True):
            if not own:
                raise UsageError(f"row {prompt.id}: the prompt is empty: {prompt.text!r}")
        return [replace(prompt, token_ids=tuple(own)) for prompt, own in zip(prompts, ids, strict=True)]

    def _render(self, row: Mapping[str, Any], where: str) -> str:
        return self.render_text(self._template.fill(row, where), where)

    def render_text(self, text: str, where: str) -> str:
        """Return `text` as a prompt: in the chat's form as the user's turn, or as it is. `where`: its row."""
        return self.render([{"role": "user", "content": text}], where) if self._data.chat else text

    def render(self, turns: Sequence[Mapping[str, Any]], where: str) -> str:
        """Return messages in the chat's form, up to where the answer begins; `data.system` goes before them.

        Messages that begin with a system prompt keep their own. `where`: their row.
        """
        from jinja2 import TemplateError

        turns = list(turns)
        if self._data.system is not None and turns[0].get("role") != "system":
            turns.insert(0, {"role": "system", "content": self._data.system})
        options = self._data.template_options
        try:
            rendered = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **options)
        except (TemplateError, TypeError, ValueError) as error:
            raise UsageError(
                f"row {where}: the tokenizer's chat template refuses it: {error}",
                "Some templates take no system prompt: put its text into data.prompt and set data.system: null.",
            ) from error
        return str(rendered)


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
