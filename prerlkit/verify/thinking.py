"""Separates the answer of a completion from the thought before it, as reasoning models write it in `<think>` tags."""

from __future__ import annotations

import re

_TAG = re.compile(r"<(/?)(think|thinking)>", re.IGNORECASE)


def after_thinking(text: str, prompt: str = "") -> str | None:
    """Return the part of a completion in which an answer counts, or None where a thought is not finished.

    The part is what follows the last closing tag. A text without think tags is returned unchanged. A closing tag
    without an opening one ends a thought too: chat templates such as DeepSeek-R1's write the opening tag into the
    prompt. The same tag may stand inside a thought, so tags are not counted: the last one decides.

    Args:
        prompt: the rendered prompt. Where it ends with an opening tag, a completion without a closing tag is an
            unfinished thought.
    """
    last = None
    for last in _TAG.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return None if opens_thinking(prompt) else text
    return text[last.end() :] if last[1] else None


def opens_thinking(prompt: str) -> bool:
    """Return whether a prompt ends with an opening think tag, so that the completion begins inside a thought."""
    return prompt.rstrip().lower().endswith(("<think>", "<thinking>"))
