"""How `--help` reads: flags have no type, and text is as wide as the terminal."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


class Command(TyperCommand):
    """A command whose help has nothing after a flag, and paragraphs that are broken by the terminal alone."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.help = joined(self.help or "")

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, `--help` among them."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperOption) and parameter.is_flag and parameter.metavar is None:
                parameter.metavar = ""  # Typer would print <bool>
        return parameters


def improve(*groups: typer.Typer) -> None:
    """Give all commands of these groups this help."""
    for group in groups:
        for command in group.registered_commands:
            command.cls = Command


def joined(text: str) -> str:
    """Return the text with each paragraph on one line; examples, which begin with [bold], keep their lines."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(p if p.lstrip().startswith("[bold]") else " ".join(p.split()) for p in paragraphs)
