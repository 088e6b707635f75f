"""Printing what others wrote: keys, paths, names, gold answers and completions can't drive the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.segment import Segment

# Control characters apart from tab and line feed; those that turn the direction of text; lone surrogates.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return the text with control characters written out, `\\x1b` for an escape."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def echo(message: Any = "", *, nl: bool = True, err: bool = False) -> None:
    """Print a line as `typer.echo` does, with control characters written out."""
    typer.echo(visible(str(message)), nl=nl, err=err)


class VisibleConsole(Console):
    """A console that writes out the control characters of what it prints, and sends its own alone."""

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        shown = (part if part.control else Segment(visible(part.text), part.style) for part in buffer)
        return super()._render_buffer(shown)
