"""The pages of the site that are generated: a hook of MkDocs (mkdocs.yml)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from prerlkit.cli.app import app

README = Path(__file__).resolve().parents[1] / "README.md"
PYTHON = """# Python, every function

[A page with examples](api.md) comes first. Below is what `import prerlkit` offers, from its docstrings.

::: prerlkit.api

::: prerlkit.policy.policy.Policy

::: prerlkit.train.callbacks.Callback

::: prerlkit.train.summary.Summary

::: prerlkit.evaluation.result.EvalResult
"""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to those of docs/."""
    from mkdocs.structure.files import File

    for name, text in (("index.md", start()), ("cli.md", command_line()), ("python.md", PYTHON)):
        files.append(File.generated(config, name, content=text))
    return files


def start() -> str:
    """Return the README with its links as they are among the pages; what is no page is named without a link."""
    text = README.read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?://)(?![\w/-]+\.md(?:#[\w-]+)?\))[^)]*\)", r"\1", text).replace(
        "[CONTRIBUTING.md](CONTRIBUTING.md)", "CONTRIBUTING.md"
    )


def command_line() -> str:
    """Return the reference of all commands: usage, what it does, arguments and options."""
    group = typer.main.get_command(app)
    return "\n".join(["# Command line", "", *_commands(group, "prerlkit")]) + "\n"


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
            continue
        yield from (f"## {path} {name}", "", *_help(command.help or ""), "", "| | | |", "|---|---|---|")
        for parameter in command.params:
            is_option = isinstance(parameter, TyperOption)
            names = (
                ", ".join(f"`{o}`" for o in parameter.opts) if is_option else f"`{parameter.metavar or parameter.name}`"
            )
            kind = "flag" if is_option and parameter.is_flag else parameter.metavar or ("" if is_option else "argument")
            text = re.sub(r"\[/?\w+\]", "", parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
            yield f"| {names} | {kind} | {text} |"
        yield ""


def _help(text: str) -> Iterator[str]:
    """Yield the paragraphs; examples, which begin with [bold], as a block of code."""
    for paragraph in text.split("\n\n"):
        if paragraph.lstrip().startswith("[bold]"):
            yield from (
                "```sh",
                re.sub(r"\[/bold\]\n +", "  # ", re.sub(r"\[bold\]", "", paragraph)).replace("[/bold]", " "),
                "```",
                "",
            )
        else:
            yield from (re.sub(r"\[/?bold\]", "`", paragraph), "")
