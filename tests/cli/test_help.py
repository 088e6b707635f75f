"""`--help` of every command, at the width that a terminal has unless a person makes it larger."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from prerlkit.cli.app import app
from prerlkit.cli.help import joined
from prerlkit.cli.recipes import recipes
from prerlkit.cli.verifiers import verifiers

GROUPS = {"": app, "recipes": recipes, "verifiers": verifiers}


def commands():
    for prefix, group in GROUPS.items():
        for info in group.registered_commands:
            yield prefix, typer.main.get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode="rich")


@pytest.mark.parametrize(("prefix", "command"), commands(), ids=lambda value: getattr(value, "name", value))
def test_flags_have_no_type_and_examples_fit_in_80_columns(prefix, command):
    for line in re.sub(r"\[/?bold\]", "", command.help or "").splitlines():
        if line.startswith(("prerlkit ", "torchrun ")):
            assert len(line) <= 78
    shown = CliRunner().invoke(app, [*filter(None, [prefix]), command.name, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert "<bool>" not in shown.output


def test_a_paragraph_is_one_line_and_examples_keep_theirs():
    text = "One\nsentence.\n\n[bold]prerlkit run[/bold]\n  what it does\n"
    assert joined(text) == "One sentence.\n\n[bold]prerlkit run[/bold]\n  what it does\n"
