"""The options of `prerlkit eval`, in the order that its help shows them. `EvalRequest` has their texts and defaults."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from prerlkit.cli.completion import preset_names, recipe_names, run_folders, verifier_names
from prerlkit.evaluation.request import EvalRequest

_ASK, _DRAW, _MODEL = "What is asked", "How it is answered", "The models"


def _field(name: str, kind: Any, *flags: str, panel: str, **more: Any) -> inspect.Parameter:
    """Return the option of a field of the request.

    Args:
        kind: what typer makes of the words: a tuple is typed as text or as a repeated option.
        flags: None: the field's name.
        panel: the heading that its help is under.
    """
    field = EvalRequest.model_fields[name]
    flags = flags or (f"--{name.replace('_', '-')}",)
    default = field.default
    if default == ():
        default = "" if kind is str else None
    option = typer.Option(*flags, help=field.description, rich_help_panel=panel, **more)
    return _parameter(name, kind, option, default)


def _parameter(name: str, kind: Any, option: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Annotated[kind, option]
    )


def _flag(name: str, *flags: str, text: str) -> inspect.Parameter:
    return _parameter(name, bool, typer.Option(*flags, help=text), False)


_TARGETS = typer.Argument(
    metavar="TARGET…",
    help="Run folders, adapter folders, Hub ids, model folders, pypi: models of packaged recipes.",
    autocompletion=run_folders,
)
_OUTPUT = typer.Option("--output", "-o", help="Folder; default: evals/<what is asked>.")

SIGNATURE = inspect.Signature(
    [
        _parameter("targets", list[str] | None, _TARGETS, None),
        _field("recipe", str | None, "--recipe", "-r", panel=_ASK, autocompletion=recipe_names),
        _field("overrides", list[str] | None, "--set", "-s", metavar="PATH=VALUE", panel=_ASK),
        _field("trust", bool, "--trust", panel=_ASK),
        _field("preset", str | None, panel=_ASK, autocompletion=preset_names),
        _field("data", str | None, metavar="FILE|{…}", panel=_ASK),
        _field("verifier", str | None, metavar="NAME|{…}", panel=_ASK, autocompletion=verifier_names),
        _field("prompt", str | None, panel=_ASK),
        _field("answer", str | None, metavar="COLUMN", panel=_ASK),
        _field("answer_pattern", str | None, panel=_ASK),
        _field("system", str | None, panel=_ASK),
        _field("chat", bool | None, "--chat/--no-chat", panel=_ASK),
        _field("problems", int, "--problems", "-n", min=0, panel=_ASK),
        _field("samples", int, "--samples", "-k", min=0, panel=_DRAW),
        _field("pass_at", str, metavar="K,K,…", panel=_DRAW),
        _field("majority_at", str, "--maj-at", metavar="K,K,…", panel=_DRAW),
        _field("greedy", bool, "--greedy/--no-greedy", panel=_DRAW),
        _field("temperature", float, "--temperature", "-t", panel=_DRAW),
        _field("top_p", float, panel=_DRAW),
        _field("top_k", int, panel=_DRAW),
        _field("max_new_tokens", int | None, panel=_DRAW),
        _field("max_sequences", int, min=1, panel=_DRAW),
        _field("seed", int | None, panel=_DRAW),
        _field("base", str | None, panel=_MODEL),
        _field("with_base", bool, "--with-base", panel=_MODEL),
        _field("checkpoint", bool, "--checkpoint", panel=_MODEL),
        _field("dtype", str | None, panel=_MODEL),
        _field("quantization", str | None, panel=_MODEL),
        _field("device", str | None, panel=_MODEL),
        _parameter("output", Path | None, _OUTPUT, None),
        _flag("overwrite", "--overwrite", text="Start from scratch where other results are."),
        _flag("as_json", "--json", text="Print results.json and nothing else."),
        _flag("list_presets", "--list", text="Show the presets and stop."),
        _flag("verbose", "--verbose", "-v", text="Libraries' warnings, and tracebacks."),
    ]
)
"""Every option of the command, as typer reads it."""
