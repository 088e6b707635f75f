"""Loads a YAML file and `--set` as a frozen Recipe, or raises an error that names file, line and the nearest key."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

import prerlkit
from prerlkit.errors import UsageError
from prerlkit.recipe.explain import explain
from prerlkit.recipe.overrides import apply
from prerlkit.recipe.schema import Recipe
from prerlkit.recipe.yaml_text import LONGEST, WrongYamlError, plain, read
from prerlkit.suggest import nearest


@dataclass(frozen=True, slots=True)
class LoadedRecipe:
    """A checked recipe and where it came from."""

    recipe: Recipe
    path: Path

    @property
    def folder(self) -> Path:
        """The recipe's folder, for relative data paths and for plugins."""
        return self.path.parent


def packaged() -> dict[str, Path]:
    """Return the packaged recipes: in a checkout the top-level `recipes/`, in a wheel next to the code.

    Returns:
        Files by bare name (path below the folder, without `.yaml`)."""
    inside = Path(prerlkit.__file__).resolve().parent / "recipes"
    folder = inside if inside.is_dir() else inside.parents[1] / "recipes"
    return {str(p.relative_to(folder).with_suffix("")): p for p in sorted(folder.rglob("*.yaml"))}


def locate(name: str) -> Path:
    """Return the file of a recipe: a path, or the bare name of a packaged one.

    Raises:
        UsageError: there is no such file, or no such name.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if path.is_file():
            return path
        raise UsageError(
            f"There is no recipe file {path}.",
            "`prerlkit recipes list` shows the packaged ones, which go by bare name.",
        )
    known = packaged()
    if name in known:
        return known[name]
    raise UsageError(f'There is no packaged recipe "{name}"{nearest(name, known)}', "For a file, give its path.")


def load(name: str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read, override and check a recipe.

    Args:
        name: a path, or the bare name of a packaged recipe.
        overrides: `path=value` each, applied in order before the check.

    Raises:
        UsageError: naming file, line and key of every mistake.
    """
    path = locate(name)
    source = read_yaml(path)
    data = apply(plain(source), overrides)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise UsageError(explain(error, path, source, overrides)) from None
    return LoadedRecipe(recipe, path)


def read_yaml(path: Path) -> Any:
    """Return the document in `path` as ruamel's round-trip types, which remember their lines (YAML 1.2).

    Raises:
        UsageError: unreadable, not YAML, a duplicate key, or not a mapping; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            document = read(file.read(LONGEST + 1), with_lines=True)
    except WrongYamlError as error:
        where = f"{path}:{error.line}:{error.column}" if error.line else str(path)
        raise UsageError(f"{where}: not valid YAML: {error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from None
    if not isinstance(document, Mapping):
        kind = "empty" if document is None else "a list" if isinstance(document, list) else "a single value"
        raise UsageError(f"{path}: a recipe is a mapping of keys to values; this file is {kind}.")
    return document


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML: nothing inherited, nothing implied. Loading it gives an equal recipe."""
    return to_yaml(recipe.model_dump(mode="json"))


def to_yaml(data: Mapping[str, Any]) -> str:
    """Return plain data as YAML in block style, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    buffer = io.StringIO()
    yaml.dump(data, buffer)
    return buffer.getvalue()
