"""Lets libraries that call `eval` on an answer have arithmetic, and nothing else: an answer is what a model wrote.

sympy's `parse_expr` is `eval` too, and so `__import__('os').system(…)` as an answer would run. Code is compiled first
and refused when it names anything but the mathematics below, which also rules out every attribute.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any, NoReturn

_MATHS = """
Symbol Integer Float Rational Add Mul Pow sqrt cbrt root exp log ln sin cos tan cot sec csc asin acos atan acot
sinh cosh tanh asinh acosh atanh Abs factorial pi E I oo
"""
NAMES = frozenset(_MATHS.split())
"""All that an expression may name, in addition to variables that its caller defines."""

_eval = eval


def evaluating(package: str) -> list[ModuleType]:
    """The loaded modules of a package that mention `eval` or `exec`, or whose source can't be looked at."""
    found = []
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            try:
                source = inspect.getsource(module)
            except (OSError, TypeError):  # also an empty file
                found.append(module)
                continue
            if re.search(r"\b(?:eval|exec)\b", source):
                found.append(module)
    return found


@contextmanager
def arithmetic_only(modules: Sequence[ModuleType]) -> Iterator[None]:
    """While it lasts, `eval` in these modules and sympy's parser evaluate arithmetic, and `exec` refuses.

    For one thread: what else runs in these modules meanwhile is held to the same.
    """
    changed: list[tuple[ModuleType, str, Any]] = []
    replacements = [
        (module, name, with_) for module in modules for name, with_ in (("eval", evaluate), ("exec", _refuse))
    ]
    if parser := sys.modules.get("sympy.parsing.sympy_parser"):
        replacements.append((parser, "eval_expr", _sympy))
    missing = object()
    try:
        for module, name, with_ in replacements:
            changed.append((module, name, vars(module).get(name, missing)))
            setattr(module, name, with_)
        yield
    finally:
        for module, name, before in reversed(changed):
            if before is missing:
                delattr(module, name)
            else:
                setattr(module, name, before)


def evaluate(
    code: str | CodeType, globals_: Mapping[str, Any] | None = None, locals_: Mapping[str, Any] | None = None, /
) -> Any:
    """Like `eval`, for literals and arithmetic.

    Raises:
        ValueError: the code names something else, holds a function or comprehension, or is no expression.
    """
    known = {**(globals_ or {}), **(locals_ or {})}
    own = frozenset(locals_ or ())
    try:
        compiled = compile(code.strip(), "<answer>", "eval") if isinstance(code, str) else code
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"no expression: {error}") from error
    if any(isinstance(constant, CodeType) for constant in compiled.co_consts):
        raise ValueError("an expression that defines something is not evaluated")
    if strange := [name for name in compiled.co_names if name not in NAMES and name not in own]:
        raise ValueError(f"{strange[0]} is no mathematics and is not evaluated")
    used = {name: known[name] for name in compiled.co_names if name in known}
    return _eval(compiled, {"__builtins__": {}}, used)


def _sympy(code: str | CodeType, local_dict: Mapping[str, Any], global_dict: Mapping[str, Any]) -> Any:
    return evaluate(code, global_dict, local_dict)


def _refuse(*arguments: Any) -> NoReturn:
    raise ValueError("code in an answer is not run")
