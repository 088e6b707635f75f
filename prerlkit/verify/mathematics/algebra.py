r"""Compares by math-verify what the grammar can't read: sums over an index, integrals, limits.

math-verify reads far more LaTeX than the grammar does. Its comparison is guarded where it is known to err (0.9):
equations are equal to it when both have no solution, numbers when they differ by less than 10^-12, and a name that only
one side has is often dropped. It also has no limit on what it works out.
"""

from __future__ import annotations

import re
from typing import Any

from prerlkit.verify.mathematics.relations import relation
from prerlkit.verify.mathematics.size import too_large

_LONGEST = 200  # characters of an answer
_DIGITS = 50
_EXPANDS = re.compile(r"[)\]}]\s*(?:\^|\*\*)\s*\{?\s*\d{2,}|\\(?:binom|Gamma|choose)|!")
_REPEATS = re.compile(r"\\(?:sum|prod|int|lim)")


def symbolic(gold: str, answer: str) -> bool | None:
    """Return whether two formulas are equal by computer algebra; None where the gold one can't be read.

    Equations and inequalities are not for it. An answer that could take long to work out is not equal.
    """
    if relation(re.sub(r"_\s*\{[^{}]*\}", "", gold)) or too_large(gold):
        return None
    left = _parse(gold)
    if left is None:
        return None
    if relation(re.sub(r"_\s*\{[^{}]*\}", "", answer)) or _takes_long(answer):
        return False
    right = _parse(answer)
    return right is not None and _equal(left, right)


def _takes_long(answer: str) -> bool:
    if len(answer) > _LONGEST or too_large(answer) or _EXPANDS.search(answer):
        return True
    repeats = len(_REPEATS.findall(answer))
    return repeats > 2 or (repeats > 0 and re.search(r"\d{4,}|\^\s*\{?\s*\d{2,}", answer) is not None)


def _parse(formula: str) -> list[Any] | None:
    """What math-verify reads in a formula; None when that is nothing."""
    from math_verify import LatexExtractionConfig, parse

    # Only as LaTeX: otherwise a formula that it can't read would become the last number in it.
    # math-verify's time limit is off: signal.alarm fails outside the main thread and can't stop work in C.
    read = parse(f"${formula}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return read or None


def _equal(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify
    from sympy import Expr

    left, right = gold[0], answer[0]
    if not isinstance(left, Expr) or not isinstance(right, Expr):
        return type(left) is type(right) and bool(left) and bool(verify(gold, answer, timeout_seconds=None))
    if left.free_symbols != right.free_symbols:
        return False
    if left.free_symbols:
        return bool(verify(gold, answer, timeout_seconds=None))
    try:
        one, other = left.evalf(_DIGITS), right.evalf(_DIGITS)
        return bool(abs(one - other) <= abs(one) * 10 ** (10 - _DIGITS))
    except (TypeError, ValueError, OverflowError):
        return False
