"""A plain function as a verifier, for one-liners: named `path/to/file.py:function` or `package.module:function`.

The function's parameters say what it wants: `completion`, `answer`, `prompt`, `row`, `truncated`, `tokens`, or the name
of a column of the row. It returns a bool, a number in [0, 1], a Verdict, or None where it can't judge.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from prerlkit.errors import UsageError
from prerlkit.settings import Fraction, Settings
from prerlkit.types import Verdict
from prerlkit.verify.base import Verifier, VerifierInput

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "__prerlkit_verifier__"
"""Attribute of a function that was written to judge."""
_OF_SAMPLE = ("prompt", "completion", "answer", "row", "truncated", "tokens")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class FunctionSettings(Settings):
    """What the function's numbers mean."""

    pass_at: Fraction = 1.0
    """A number passes from here on."""


class FunctionVerifier(Verifier):
    """Judges by a function. `function` is set on a subclass, or on the instance before `__init__` is through."""

    name: ClassVar[str] = "function"
    Settings: ClassVar[type[FunctionSettings]] = FunctionSettings
    settings: FunctionSettings
    needs_answer = False  # unless the function asks for it
    function: Callable[..., Any]

    def __init__(self, settings: FunctionSettings) -> None:
        super().__init__(settings)
        self._where = f"{inspect.getsourcefile(self.function) or self.function.__module__}:{self.function.__name__}"
        self._parameters = _parameters(self.function, self._where)
        self.needs_answer = self._parameters.get("answer", False)

    def judge(self, sample: VerifierInput) -> Verdict:
        given = {}
        for name, required in self._parameters.items():
            if name in _OF_SAMPLE:
                given[name] = getattr(sample, name)
            elif name in sample.row:
                given[name] = sample.row[name]
            elif required:
                return Verdict.unjudged(f'the row has no column "{name}", which {self._where} asks for')
        return self._verdict(self.function(**given))

    def _verdict(self, value: Any) -> Verdict:
        if isinstance(value, Verdict):
            return value
        if value is None:
            return Verdict.unjudged(f"{self._where} returned None")
        if isinstance(value, bool):
            return Verdict.of(value)
        if not isinstance(value, int | float):
            raise TypeError(f"{self._where} returned {type(value).__name__}, not a bool, a number, a Verdict or None")
        if not 0 <= value <= 1:  # NaN included
            raise ValueError(f"{self._where} returned {value!r}, which is outside [0, 1]")
        return Verdict(float(value), value >= self.settings.pass_at)


def judges(function: Function) -> Function:
    """Mark a function as one that judges. A recipe may then name it as `package.module:function`."""
    vars(function)[MARK] = True
    return function


def from_function(function: Callable[..., Any], name: str) -> type[FunctionVerifier]:
    """A verifier class for a function. Its module is the function's, so that messages name the right file."""
    doc = inspect.getdoc(function) or ""
    members = {
        "name": name,
        "function": staticmethod(function),
        "needs_answer": _parameters(function, name).get("answer", False),
        "__doc__": doc,
        "__module__": function.__module__,
    }
    return type(name, (FunctionVerifier,), members)


def _parameters(function: Callable[..., Any], where: str) -> dict[str, bool]:
    """Each parameter's name, and whether it has to be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise UsageError(f"{where} has no signature to read: {error}", "Wrap it in a function of your own.") from error
    if wrong := [p.name for p in parameters if p.kind not in _BY_NAME]:
        raise UsageError(
            f"{where} has a parameter that can't be given by name: {wrong[0]}",
            f"A parameter is one of {', '.join(_OF_SAMPLE)}, or a column of the row.",
        )
    return {p.name: p.default is p.empty for p in parameters}
