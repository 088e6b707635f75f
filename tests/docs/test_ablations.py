"""docs/ablations.md: every command resolves, changes what it says, and all of a size do the same number of steps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from prerlkit.recipe.load import load
from prerlkit.train.validate import check_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ablations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
DEFAULTS = ("steps=5 --set stages.rl.steps=25", "steps=20 --set stages.rl.steps=200", "=stack", "=group_mean", "=auto")


def parse(line: str) -> tuple[str, list[str], str]:
    """The recipe, its overrides and the output of a command."""
    words = shlex.split(line, comments=True)
    assert words[:2] == ["prerlkit", "run"], line
    options = dict.fromkeys(words[3::2])
    assert set(options) <= {"--set", "-o"}, line
    pairs = list(zip(words[3::2], words[4::2], strict=True))
    (output,) = (value for option, value in pairs if option == "-o")
    return words[2], [value for option, value in pairs if option == "--set"], output


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: parse(line)[2])
def test_a_command_resolves_and_changes_something(line):
    name, overrides, _ = parse(line)
    loaded, plain = load(name, overrides), load(name)
    check_settings(loaded.recipe, loaded.folder)
    assert (loaded.recipe == plain.recipe) == (not overrides or any(word in line for word in DEFAULTS))
    steps = sum(stage.steps for stage in loaded.recipe.stages)
    assert steps == (220 if name.startswith("math") else 45 if "until" in line else 30)


def test_no_two_commands_write_into_one_folder():
    outputs = [parse(line)[2] for line in COMMANDS]
    assert len(outputs) > 30
    assert len(set(outputs)) == len(outputs)


def test_what_is_said_of_the_second_task_holds():
    """The same --set do on it what they do on the first, and its recipes differ in the task alone."""
    for line in COMMANDS:
        name, overrides, _ = parse(line)
        if name.startswith("quickstart"):
            one, other = (load(which, overrides).recipe for which in (name, name.replace("quickstart", "reason")))
            assert [(s.name, s.objective, s.steps, s.reincarnation) for s in one.stages] == [
                (s.name, s.objective, s.steps, s.reincarnation) for s in other.stages
            ]
    dsrl, grpo = load("reason_dsrl").recipe, load("reason_grpo").recipe
    for part in ("model", "adapter", "data", "verifiers", "rollout", "memory", "evaluation"):
        assert getattr(dsrl, part) == getattr(grpo, part)
