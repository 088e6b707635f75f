"""The pages of the site that are generated: a hook of MkDocs (mkdocs.yml)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from prerlkit.cli.app import app
from prerlkit.recipe.peers import DIFFERENT, OURS
from prerlkit.recipe.schema import Recipe

README = Path(__file__).resolve().parents[1] / "README.md"
PYTHON = """# Python, every function

[A page with examples](api.md) comes first. Below is what `import prerlkit` offers, from its docstrings.

::: prerlkit.api

::: prerlkit.policy.policy.Policy

::: prerlkit.train.callbacks.Callback

::: prerlkit.train.summary.Summary

::: prerlkit.evaluation.result.EvalResult

::: prerlkit.verify.Verifier
"""
KEYS = """# Recipe keys

Every key of a recipe. [Recipes](recipes.md) explains how to write one. `prerlkit recipes schema` prints the same as
JSON Schema, for an editor. Descriptions name what TRL, PEFT, vLLM, verl and transformers call a key;
[the last table](#elsewhere) leads from their names to ours.
"""
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to those of docs/."""
    from mkdocs.structure.files import File

    made = {"index.md": start(), "cli.md": command_line(), "python.md": PYTHON, "recipe-keys.md": recipe_keys()}
    for name, text in made.items():
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


def recipe_keys() -> str:
    """Return the reference of all keys of a recipe: type, default and description, section by section."""
    schema = Recipe.model_json_schema()
    titles = dict(_sections(schema, schema["$defs"]))
    lines = [KEYS, *_keys(schema, schema["$defs"], titles)]
    for name, title in titles.items():
        part = schema["$defs"][name]
        about = " ".join(part.get("description", "").split())
        level = "###" if "." in title.partition(" (")[0].removesuffix(".NAME") else "##"
        lines += [f"{level} {title} {{ #{name} }}", "", _safe(about), ""]
        lines += _keys(part, schema["$defs"], titles)
    lines += ["## Names in other tools { #elsewhere }", "", "| there | here | difference |", "|---|---|---|"]
    lines += [f"| `{theirs}` | `{OURS[theirs]}` | {DIFFERENT.get(theirs, '')} |" for theirs in sorted(OURS)]
    return "\n".join(lines) + "\n"


def _sections(part: Any, parts: Any, path: str = "", seen: Any = None) -> Iterator[tuple[str, str]]:
    """Yield each model that a key of `part` leads to, once, with the path to it; depth first."""
    seen = set() if seen is None else seen
    for key, field in part.get("properties", {}).items():
        names = re.findall(r"#/\$defs/(\w+)'", str({k: v for k, v in field.items() if k != "discriminator"}))
        for name in dict.fromkeys(names):
            if name in seen:
                continue
            seen.add(name)
            here = f"{path}.{key}".strip(".") + (".NAME" if key in ("stages", "verifiers") else "")
            yield name, f"{here} ({kind})" if (kind := _kind(parts[name])) else here
            yield from _sections(parts[name], parts, here, seen)


def _kind(part: Any) -> str:
    """Return what a recipe writes to choose one of several models: `kind: clip`."""
    for key in ("kind", "name", "preset"):
        if key in part.get("properties", {}):
            field = part["properties"][key]
            if "const" in field or field.get("description") == "path/to/file.py:Name" or key == "preset":
                return f"{key}: {field.get('const', 'NAME' if key == 'preset' else 'path/to/file.py:Name')}"
    return ""


def _keys(part: Any, parts: Any, titles: Any) -> Iterator[str]:
    """Yield the table of a model's keys; nothing where it has none to set."""
    fields = {k: v for k, v in part.get("properties", {}).items() if k not in ("kind", "name") or "const" not in v}
    if fields:
        yield from ("| key | type | default | what it is |", "|---|---|---|---|")
    for key, field in fields.items():
        target = parts[field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
        about = " ".join((field.get("description") or target.get("description", "").partition("\n")[0]).split())
        default = "required" if key in part.get("required", ()) else _default(field)
        yield f"| `{key}` | {_type(field, titles)} | {default} | {_safe(about)} |"
    yield ""


def _type(field: Any, titles: Any) -> str:
    """Return the type of a key in words, with links to the models that it may be."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{titles[name].partition(' (')[2].rstrip(')') or titles[name]}](#{name})"
    if several := field.get("anyOf") or field.get("oneOf"):
        return ", ".join(dict.fromkeys(_type(each, titles) for each in several))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        of = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of: {_type(of, titles)}" if of else "list"
    bounds = "".join(f", {sign} {field[key]:g}" for key, sign in _BOUNDS.items() if key in field)
    return _WORDS.get(field.get("type", ""), "mapping") + bounds


def _default(field: Any) -> str:
    """Return a key's default as a recipe writes it; nothing for a section, whose keys have theirs."""
    if "default" not in field:
        return "`{}`" if field.get("type") == "object" else "" if "$ref" in field else "required"
    value = field["default"]
    if isinstance(value, dict):
        return ""
    return f"`{value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def _safe(text: str) -> str:
    """Return a text for a cell: pipes and, outside of code, angle brackets are escaped; pages are links."""
    linked = re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](\1)", text.replace("|", "\\|"))
    parts = re.split(r"(`[^`]*`)", linked)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
