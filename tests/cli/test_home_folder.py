"""`~` is the home folder in every path that a person gives: options of all commands, and keys of a recipe."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path

import pytest
import typer

from prerlkit.cli.app import app
from prerlkit.cli.guard import guarded
from prerlkit.launch import output_folder
from prerlkit.publish import export as exporting
from prerlkit.recipe.schema import Recipe


def commands(of: typer.Typer, name: str = "") -> dict[str, typing.Any]:
    """Every command's function, by its words."""
    found = {f"{name} {one.name or one.callback.__name__}".strip(): one.callback for one in of.registered_commands}
    for group in of.registered_groups:
        found.update(commands(group.typer_instance, f"{name} {group.name}".strip()))
    return found


ALL = commands(app)


def paths(function) -> dict[str, typing.Any]:
    """The parameters of a command that are paths, each with what typer reads."""
    inner = inspect.unwrap(function)
    hints = typing.get_type_hints(inner)
    signature = vars(inner).get("__signature__") or inspect.signature(inner)
    kinds = {name: hints.get(name, parameter.annotation) for name, parameter in signature.parameters.items()}
    return {name: kind for name, kind in kinds.items() if "Path" in str(kind)}


def test_all_commands_are_seen():
    assert len(ALL) > 18
    assert sum(map(len, map(paths, ALL.values()))) > 18


@pytest.mark.parametrize("name", ALL)
def test_every_command_gets_its_paths_with_the_home_folder(name, monkeypatch, tmp_path):
    """What wraps all commands does it, so each must be wrapped by it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    command = ALL[name]
    assert command.__code__ is guarded(lambda: None).__code__
    given = {}
    asked = {option: [Path("~/a")] if "list" in str(kind) else Path("~/a") for option, kind in paths(command).items()}
    guarded(lambda **options: given.update(options))(**asked, seed=3, text="~/a")
    assert given.pop("seed") == 3
    assert given.pop("text") == "~/a"
    assert set(given) == set(asked)
    for value in given.values():
        assert (value[0] if isinstance(value, list) else value) == tmp_path / "a"


def test_keys_of_a_recipe(monkeypatch, tmp_path, tiny_recipe):
    monkeypatch.setenv("HOME", str(tmp_path))
    data = tiny_recipe(output={"folder": "~/runs/{name}"})
    assert output_folder(Recipe.model_validate(data)) == tmp_path / "runs" / data["name"]


def test_an_export_is_found_and_written_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Exception, match=str(tmp_path / "none")):
        exporting.export("~/none")
