"""Renders a tokenizer's chat template. It is a program by the model's author, so its time and memory are limited.

transformers compiles a template for Jinja's sandbox, which keeps it from files and processes, and bounds neither the
loops nor the text that it makes.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prerlkit.cpu_limit import TooExpensive, cpu_limit
from prerlkit.errors import UsageError

Turns = Sequence[Mapping[str, Any]]

AT_ONCE = 2048
"""Conversations that are rendered within one limit."""
SECONDS = 20.0
"""Processor time for them. Ours: an ordinary template takes less than 1 ms for each."""
ROOM = 2 << 30
"""Bytes by which the process may grow meanwhile."""
MOST_ADDED = 1 << 18
"""Characters of a rendered conversation, in addition to ten times those of its messages."""
_HINT = "Repair the template (chat_template.jinja or tokenizer_config.json), or set data.chat: false."
_SHOWN = 300  # characters of an error, which is the template's own text


@contextmanager
def limits() -> Iterator[None]:
    """Limit processor time and memory of the body.

    Time is limited in the main thread only (see `cpu_limit`), memory for the whole process.

    Raises:
        UsageError: the template takes more.
    """
    try:
        with cpu_limit(SECONDS), _memory_limit(ROOM):
            yield
    except TooExpensive:
        raise UsageError(
            f"The tokenizer's chat template takes more than {SECONDS:g} s of processor time.", _HINT
        ) from None
    except MemoryError:
        raise UsageError(
            f"The tokenizer's chat template needs more than {ROOM / 2**30:g} GiB of memory.", _HINT
        ) from None


def render(tokenizer: Any, conversations: Sequence[Turns], **options: Any) -> list[str]:
    """Return the text of each conversation. To be called within `limits`.

    Args:
        tokenizer: of transformers, with a chat template.
        options: of `apply_chat_template`.

    Raises:
        One of `errors`. ValueError: a text is too long.
    """
    texts = list(map(str, tokenizer.apply_chat_template(list(conversations), tokenize=False, **options)))
    for text, turns in zip(texts, conversations, strict=True):
        if len(text) > MOST_ADDED and len(text) > MOST_ADDED + 10 * sum(len(str(turn)) for turn in turns):
            raise ValueError(f"it makes {len(text):,} characters of one conversation")
    return texts


def render_one(tokenizer: Any, turns: Turns, **options: Any) -> str:
    """Return the text of one conversation, within the limits. Raises UsageError where the template fails."""
    try:
        with limits():
            (text,) = render(tokenizer, [turns], **options)
    except errors() as error:
        raise UsageError(f"The tokenizer's chat template fails: {shown(error)}", _HINT) from error
    return text


def errors() -> tuple[type[Exception], ...]:
    """Return what a template may raise: its own errors, those of its expressions, those of being compiled."""
    from jinja2 import TemplateError

    expressions = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
    return (TemplateError, SyntaxError, *expressions)


def shown(error: Exception) -> str:
    """Return an error as text of bounded length. The template may have written it."""
    text = str(error) or type(error).__name__
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


@contextmanager
def _memory_limit(room: int) -> Iterator[None]:
    """Let the address space of this process grow by `room` bytes at most, where the system says how large it is."""
    size = Path("/proc/self/statm")
    if not size.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(size.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE") + room
    others = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *others]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
