"""Judges by a function of yours. It is what `name: path/to/file.py:function` in a recipe means, under a separate name.

The function's parameters say what it reads: completion, answer, prompt, row, truncated, tokens, or a column of the row.
It returns a bool, a number in [0, 1], a Verdict, or None where it can't judge.
"""

from __future__ import annotations

from prerlkit.verify import GoldCase, judges
from prerlkit.verify.code_tests.function import FunctionSettings, FunctionVerifier
from prerlkit.verify.registry import load_function


class PythonSettings(FunctionSettings):
    """The function, and the scale of its scores."""

    function: str
    """`path/to/file.py:function`, from the working directory, or `package.module:function`."""


class Python(FunctionVerifier):
    """Scores with a function of yours: path/to/file.py:function or package.module:function."""

    name = "python"
    Settings = PythonSettings
    settings: PythonSettings

    def __init__(self, settings: PythonSettings) -> None:
        self.function = load_function(settings.function)
        super().__init__(settings)

    gold = (
        GoldCase("yes", "pass", "yes", settings={"function": "prerlkit.verifiers.python:_equal"}),
        GoldCase("no", "fail", "yes", settings={"function": "prerlkit.verifiers.python:_equal"}),
        GoldCase("yes", "unjudged", settings={"function": "prerlkit.verifiers.python:_equal"}),
        GoldCase("abc", "fail", settings={"function": "prerlkit.verifiers.python:_brief"}),
        GoldCase("abc", "pass", settings={"function": "prerlkit.verifiers.python:_brief", "pass_at": 0.2}),
    )


@judges
def _equal(completion: str, answer: str) -> bool:
    return completion.strip() == answer


@judges
def _brief(completion: str) -> float:
    return 1 / (1 + len(completion))
