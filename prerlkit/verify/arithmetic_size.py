"""Bounds the numbers that a Python expression works out to, without evaluating it."""

from __future__ import annotations

import ast
import math
import re

DIGITS = 5_000
"""Decimal digits of the largest number that may be worked out on the way. No task's answer needs more."""
_FACTORIAL = 2_000  # 5,736 digits
_REPEATS = 10_000  # of a text or list: "'a' * 10**9" takes a gigabyte
_LONGEST = 20_000  # characters that are parsed
# More digits than Python reads, or a decimal exponent above 5 digits: Python's float reads it, sympy works it out.
_LONG_NUMBER = re.compile(r"\d{4301}|[\d.][eE][+-]?0*[1-9]\d{4}")


def is_small(expression: str) -> bool:
    """Return whether no part of an expression has more than `DIGITS` digits.

    `^` is read as a power, as mathematics writes it. A text that is no Python expression is small, apart from numbers
    that are too long: nothing evaluates it. So is one that is too long to be parsed here, which takes as long to
    evaluate as it is long.
    """
    if _LONG_NUMBER.search(expression):
        return False
    if len(expression) > _LONGEST:
        return True
    try:
        return _size(ast.parse(expression.strip().replace("^", "**"), mode="eval").body) <= DIGITS
    except (SyntaxError, ValueError):
        return True
    except (RecursionError, MemoryError):
        return False


def _size(node: ast.AST) -> float:
    """Return an upper bound of |log10 of any number's absolute value| in an expression; inf where it has none.

    Variables count as 10, texts by their length.
    """
    match node:
        case ast.Constant(value=bool()):
            return 0
        case ast.Constant(value=int() | float() | complex() as value):
            return abs(math.log10(abs(value))) if value and math.isfinite(abs(value)) else 0
        case ast.BinOp(left=left, op=operator, right=right):
            return _operation(left, operator, right)
        case ast.Call(func=ast.Name(id=name), args=[first, *others]):
            size = _size(first)
            match name.lower():
                case "factorial" | "gamma":
                    return DIGITS if 10 ** min(size, 9) <= _FACTORIAL else math.inf
                case "pow" if others:
                    return _power(size, _size(others[0]))
                case "exp":
                    return _power(1, size)
            return max(size, *map(_size, others), 0)
    return max((_size(child) for child in ast.iter_child_nodes(node)), default=1)


def _operation(left: ast.expr, operator: ast.operator, right: ast.expr) -> float:
    a, b = _size(left), _size(right)
    match operator:
        case ast.Pow():
            return max(a, b, _power(a, b))
        case ast.LShift():
            return max(a, b, a + _power(1, b))
        case ast.Mult() if _is_sequence(left) or _is_sequence(right):
            return max(a, b) if 10 ** min(a + b, 9) <= _REPEATS else math.inf
        case ast.Add() | ast.Sub():
            return max(a, b) + 1
        case _:
            return a + b


def _is_sequence(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.Tuple | ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _power(base: float, exponent: float) -> float:
    """The size of a power, from the sizes of its base and exponent."""
    return math.inf if exponent > 6 else base * 10**exponent
