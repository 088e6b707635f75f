"""Equations and inequalities: when two of them say the same, and when one gives a value.

`name = value` gives its value where the left side is a single symbol. Two equations are the same when the differences
of their sides are multiples of each other; solutions are not looked for, so none can be missing on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from types import EllipsisType
from typing import NamedTuple

from prerlkit.verify.mathematics.formula import (
    ONE,
    Formula,
    Number,
    Power,
    Product,
    Sum,
    Unreadable,
    difference,
    variables,
)
from prerlkit.verify.mathematics.grammar import read, readable
from prerlkit.verify.mathematics.labels import is_quantity
from prerlkit.verify.mathematics.names import GREEK, SAME
from prerlkit.verify.mathematics.normal import compact, split_top
from prerlkit.verify.mathematics.value import equal_values, is_constant, proportional

Same = Callable[[str, str], bool | None]

_SIGN = re.compile(r"\\(?:le|ge|ne|in|equiv)(?![a-z])|[<>=]")
_GREEK = "|".join(sorted([*GREEK, *SAME], key=len, reverse=True))
_SYMBOL = rf"(?:\\(?:{_GREEK})|[A-Za-z])(?:_(?:\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}}|\w))?'*"
_NUMBER = r"-?(?:[\d./]+|\\frac\{\d+\}\{\d+\})"
# No sum: P(1+r) is a product.
_EVENT = rf"(?:{_SYMBOL}|{_NUMBER}|\\(?:cap|cup|mid|ge|le)|[|,!^\\:])*"
_NAME = re.compile(
    rf"{_SYMBOL}|[fgh](?:_\w|\^\{{-1\}})?'*\((?:[^=<>()]|[fgh]\([^=<>()]*\))*\)"  # x_1, f(x+1), f(g(2))
    rf"|(?:[PE]|Pr|Var|\\(?:phi|varphi|sigma|tau|mu|zeta|det))\({_EVENT}\)|\\det[A-Z]"  # P(A), \det(A)
    rf"|(?:[A-Zp-wyz](?:_\w)?'*\((?:{_NUMBER}|[xntk])(?:,(?:{_NUMBER}|[xntk]))*\)|[A-Z]\([a-z]\)|x\(t\))"  # y(0), V(r)
    r"|(?:m\s*)?\\(?:angle|triangle)\s*[A-Z]+|\[[A-Z]{3,}\]|[A-Z]{2,4}"  # ∠ABC, [ABC], AB
    rf"|\\(?:overline|vec|hat|bar|overrightarrow)\s*(?:\{{(?:{_SYMBOL}|[A-Z]+)\}}|[A-Za-z])(?:_(?:\{{[^{{}}]*\}}|\w))?"
    r"|\|[A-Z]{2}\||\\frac\{[A-Z]{2}\}\{[A-Z]{2}\}|[A-Z](?:_\{?\w+\}?)?:[A-Z](?:_\{?\w+\}?)?"  # |AB|, AB/CD, A:B
    r"|\((?:[A-Za-z](?:_\d)?,)+[A-Za-z](?:_\d)?\)"  # (x, y)
)
_STYLED = re.compile(r"\\(?:math(?:bf|rm|it)|mbox|text[a-z]*)\s*\{([^{}]*)\}")


class Relation(NamedTuple):
    """Sides, and the signs between them: <, >, \\le, \\ge, =, \\ne, \\in."""

    sides: tuple[str, ...]
    signs: tuple[str, ...]


def relation(text: str) -> Relation | None:
    """Return the sides and signs of a normal text; None where it has no sign outside of brackets."""
    depth, start, sides, signs, skipped = 0, 0, [], [], -1
    for found in re.finditer(r"\\[{}]|[{}()\[\]]|" + _SIGN.pattern, text):
        token = found.group()
        if token[-1] in "([{":
            depth += 1
        elif token[-1] in ")]}":
            depth -= 1
        elif depth <= 0 and found.start() > skipped:
            sides.append(text[start : found.start()].strip())
            signs.append(token)
            start = found.end()
    if not signs:
        return None
    return Relation((*sides, text[start:].strip()), tuple(signs))


def assignment(text: str) -> tuple[str, str] | None:
    """Return the name and the value of `name = value`; None where that isn't what the text is.

    Of a chain `x = 2+3 = 5` the last side is the value, and those before must not contradict it.
    """
    found = relation(text)
    if found is None or set(found.signs) - {"=", r"\in"} or not all(found.sides):
        return None
    left, *middle, right = found.sides
    if is_name(left):
        name, value = left, right
    elif is_name(right) and not middle:
        name, value = right, left
    else:
        return None
    return (name, value) if all(not _contradicts(side, value) for side in middle) else None


def is_name(text: str) -> bool:
    """Return whether a text is a single symbol, or a word that names something."""
    text = _STYLED.sub(r" \1", text).strip()
    return _NAME.fullmatch(compact(text)) is not None or is_quantity(text)


def by_names(names: str, value: str) -> str:
    """Return a point in the order of the alphabet: of `(y, x) = (2, 3)`, (3, 2). Any other value as it is."""
    keys, inner = names.strip("() ").split(","), re.fullmatch(r"\((.*)\)", value, re.DOTALL)
    parts = split_top(inner[1]) if inner else []
    if not names.startswith("(") or len(keys) != len(parts):
        return value
    return f"({', '.join(part for _, part in sorted(zip(map(compact, keys), parts, strict=True)))})"


def _contradicts(side: str, value: str) -> bool:
    left, right = readable(side), readable(value)
    if left is None or right is None or variables(left) or variables(right):
        return False
    return not equal_values(left, right)


def as_relation(gold: str, answer: str, same: Same) -> bool | EllipsisType | None:
    """Compare where one of the two is an equation or inequality; `...` where none is.

    Returns:
        None when the gold answer can't be read, or holds for every value or none.
    """
    left, right = relation(gold), relation(answer)
    if left is None:
        if right is None:
            return ...
        given = assignment(answer)
        return _constant_chain(gold, right, same) if given is None else same(gold, given[1])
    named = assignment(gold)
    if named is not None and right is None:
        return same(named[1], answer)
    given = assignment(answer)
    same_name = named is not None and given is not None and compact(named[0]) == compact(given[0])
    if named and given and same_name and (equal := same(named[1], given[1])) is not False:
        return equal
    value = readable(named[1]) if named else None
    if named and (value is None or not variables(value)):
        return False  # the problem's own equation would be a multiple of its solution
    return _same_relation(left, right)


def _constant_chain(gold: str, right: Relation, same: Same) -> bool:
    """`2+3 = 5` for 5: numbers on all sides, each of which is the gold answer. `5 = 5` says nothing."""
    if set(right.signs) != {"="} or len(set(map(compact, right.sides))) < 2:
        return False
    formulas = [readable(side) for side in right.sides]
    if any(formula is None or variables(formula) for formula in formulas):
        return False
    return all(same(gold, side) is True for side in right.sides)


def _same_relation(gold: Relation, answer: Relation | None) -> bool | None:
    """Pair by pair: the differences of the sides are multiples of each other."""
    try:
        golds = [_pair(*pair) for pair in _pairs(gold)]
    except Unreadable:
        return None
    if any(is_constant(formula) for formula, _ in golds):
        return None
    if answer is None:
        return False
    try:
        answers = [_pair(*pair) for pair in _pairs(answer)]
    except Unreadable:
        return False
    if len(golds) != len(answers):
        return False
    return any(
        all(_multiple(one, other) for one, other in zip(golds, order, strict=True))
        for order in (answers, answers[::-1])
    )


def _pairs(chain: Relation) -> list[tuple[str, str, str]]:
    return list(zip(chain.sides, chain.signs, chain.sides[1:], strict=False))


def _pair(left: str, sign: str, right: str) -> tuple[Formula, str]:
    """The difference of two sides, and the sign that it has to 0: =, \\ne, < or \\le."""
    formula = difference(read(left), read(right))
    if sign in (">", r"\ge"):
        return difference(read(right), read(left)), {">": "<", r"\ge": r"\le"}[sign]
    if sign in (r"\in", r"\equiv"):
        raise Unreadable(sign)
    return formula, sign


def _multiple(gold: tuple[Formula, str], answer: tuple[Formula, str]) -> bool:
    if gold[1] != answer[1]:
        return False
    sign = proportional(gold[0], answer[0])
    if gold[1] in ("=", r"\ne"):
        (left, below), (right, under) = _above(gold[0]), _above(answer[0])
        if any(equal_values(one, Number(Fraction(0))) for one in (below, under)):
            return False
        return bool(sign) or bool(proportional(left, right))
    return sign > 0


def _above(formula: Formula) -> tuple[Formula, Formula]:
    """Numerator and denominator of a formula, nothing cancelled: an equation is the same without its denominators."""
    match formula:
        case Sum(terms):
            above, below = _above(terms[0])
            for term in terms[1:]:
                other, under = _above(term)
                if under == below:
                    above = Sum((above, other))
                else:
                    above, below = Sum((Product((above, under)), Product((other, below)))), Product((below, under))
            return above, below
        case Product(factors):
            fractions = [_above(factor) for factor in factors]
            return Product(tuple(one for one, _ in fractions)), Product(tuple(one for _, one in fractions))
        case Power(base, Number(value)) if value.denominator == 1:
            above, below = _above(base)
            power = Number(abs(value))
            return (
                (Power(above, power), Power(below, power)) if value > 0 else (Power(below, power), Power(above, power))
            )
    return formula, ONE
