"""Asserts so plain that nothing has to be run to judge them: calls with literal arguments, compared with literals.

Most tests of HumanEval and MBPP are such. Their calls go to the completion's process, and what comes back is compared
here, by an expression that is made of nothing but comparisons, sums and a few pure functions. All else needs the
judge (`prerlkit.sandbox.guest.judge`).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_PURE = {f.__name__: f for f in (abs, bool, dict, float, frozenset, int, len, list, max, min, round, set, sorted, str,
                                 sum, tuple)}  # fmt: skip
# Of a sum whose items are no plain numbers, as adding sequences or fractions takes the square of their size:
_MOST_SUMMED = 10_000  # items
_MOST_COPIED = 100_000_000  # items of sequences, each copied once for each sequence that follows
_MOST_BITS = 1 << 18  # of fractions, all together
_MOST_DIGITS = 10_000  # to round to
_NODES = (
    ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Load,
    ast.cmpop, ast.boolop, ast.Not, ast.USub, ast.UAdd, ast.Add, ast.Sub,
)  # fmt: skip

Distinct = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class AssertedCall:
    """A function of the completion's, and plain values."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One assert: its calls, and an expression over what they return."""

    text: str
    calls: tuple[AssertedCall, ...]
    expression: Any

    def holds(self, values: Sequence[Any], distinct: Distinct = list) -> bool:
        """Whether the assert holds for these values, which must be of built-in types.

        Args:
            distinct: what `set` and `dict` are made through. It may refuse items that would take for ever.

        Raises:
            Exception: as the assert itself would, for values of another type than it expects.
        """
        names = {f"__{number}": value for number, value in enumerate(values)}
        # Of these alone the time isn't in proportion to what a program returns.
        bounded = {kind.__name__: _made_of(kind, distinct) for kind in (set, frozenset, dict)}
        allowed = {"__builtins__": {}, **_PURE, **bounded, "sum": _sum, "round": _round, "math": math, **names}
        return bool(eval(self.expression, allowed))


def _made_of(kind: Any, distinct: Distinct) -> Any:
    def make(items: Any = (), **more: Any) -> Any:
        listed = list(items.items() if isinstance(items, dict) and kind is dict else items)
        distinct([key for key, _ in listed] if kind is dict else listed)
        return kind(listed, **more)

    return make


def _sum(items: Any, start: Any = 0) -> Any:
    listed = list(items)
    others = [item for item in listed if not isinstance(item, int | float)]
    if others and len(listed) > _MOST_SUMMED:
        raise ValueError("too many items to be summed")
    fractions = [item for item in others if isinstance(item, Fraction)]
    if sum(item.numerator.bit_length() + item.denominator.bit_length() for item in fractions) > _MOST_BITS:
        raise ValueError("the fractions are too large to be summed")
    if len(others) * sum(len(item) for item in others if isinstance(item, list | tuple)) > _MOST_COPIED:
        raise ValueError("too many items to be joined")
    return sum(listed, start)


def _round(number: Any, digits: Any = None) -> Any:
    if isinstance(digits, int) and abs(digits) > _MOST_DIGITS:
        raise ValueError("too many digits to round to")
    return round(number, digits)


class _NotSimple(Exception):  # noqa: N818 - it is no error
    pass


def cases(units: Sequence[str], remote: Collection[str], entry: str) -> tuple[Case, ...] | None:
    """The asserts of tests that hold nothing else; None where they do.

    Args:
        units: sources that parse.
        remote: the completion's names.
        entry: what `check`'s argument stands for.
    """
    found: list[Case] = []
    try:
        for unit in units:
            for node in ast.parse(unit).body:
                if isinstance(node, ast.FunctionDef) and (node.name == "check" or node.name.startswith("test")):
                    for statement in node.body:
                        _statement(statement, _names(node, remote, entry), found)
                elif not (isinstance(node, ast.Assign) and _is_literal(node.value)):
                    _statement(node, {name: name for name in remote}, found)
    except (_NotSimple, RecursionError):
        return None
    return tuple(found) or None


def _names(function: ast.FunctionDef, remote: Collection[str], entry: str) -> dict[str, str]:
    """What names in a test function stand for: check's argument for the entry."""
    names = {name: name for name in remote}
    arguments = [argument.arg for argument in function.args.args]
    if function.decorator_list or len(arguments) != (function.name == "check"):
        raise _NotSimple
    return {**names, **dict.fromkeys(arguments, entry)}


def _statement(node: ast.stmt, names: dict[str, str], found: list[Case]) -> None:
    if isinstance(node, ast.Assert):
        if isinstance(node.test, ast.Constant) and node.test.value:
            return
        taker = _CallTaker(names)
        text = ast.unparse(node)[:200]
        expression = ast.fix_missing_locations(ast.Expression(taker.visit(node.test)))
        if not taker.calls:
            raise _NotSimple
        found.append(Case(text, tuple(taker.calls), compile(expression, "<assert>", "eval", dont_inherit=True)))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        # It matters only where it binds a name that is let through; the module math may be called so.
        for alias in node.names:
            is_math = isinstance(node, ast.Import) and alias.name == "math" and alias.asname is None
            if not is_math and (alias.asname or alias.name) in (*_PURE, "math"):
                raise _NotSimple
    elif not isinstance(node, ast.Pass) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        raise _NotSimple


class _CallTaker(ast.NodeTransformer):
    """Puts `__0`, `__1` … in the place of the completion's calls, and stops at whatever isn't harmless."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self.calls: list[AssertedCall] = []

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Call):
            return self._call(node)
        if not isinstance(node, _NODES):
            raise _NotSimple
        return self.generic_visit(node)

    def _call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id in self._names:
            arguments = [_literal(argument) for argument in node.args]
            kwargs = {keyword.arg: _literal(keyword.value) for keyword in node.keywords if keyword.arg is not None}
            if len(kwargs) != len(node.keywords):
                raise _NotSimple
            self.calls.append(AssertedCall(self._names[node.func.id], tuple(arguments), kwargs))
            return ast.Name(f"__{len(self.calls) - 1}", ast.Load())
        pure = isinstance(node.func, ast.Name) and node.func.id in _PURE
        close = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "math.isclose"
        if not pure and not close:
            raise _NotSimple
        args = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(keyword.arg, self.visit(keyword.value)) for keyword in node.keywords]
        if any(keyword.arg is None for keyword in keywords):
            raise _NotSimple
        return ast.Call(node.func, args, keywords)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError) as error:
        raise _NotSimple from error


def _is_literal(node: ast.expr) -> bool:
    try:
        _literal(node)
    except _NotSimple:
        return False
    return True
