"""Whether two formulas have the same value, for all values of their variables.

Fractions are compared exactly; polynomials and fractions of them modulo two primes; all else at points, at a precision
that follows the operands: 60 digits more than the terms of any sum differ in size. Nothing is expanded or simplified,
so a formula can't get larger than it was written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

from prerlkit.verify.mathematics.exact import PRIMES, NotExact, TooLarge, Undefined, fraction, residue
from prerlkit.verify.mathematics.formula import (
    MINUS_ONE,
    Call,
    Formula,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    Unreadable,
    parts,
    rebuilt,
    variables,
    walk,
)
from prerlkit.verify.mathematics.grammar import read
from prerlkit.verify.mathematics.numeric import NumericEvaluation

_DIGITS = 60
_MOST_DIGITS = 3_000
_MOST_NODES = 1_000
_AGREEING = 4  # points that must agree; the first four have all patterns of signs of two variables
_RANGES = ((0.2, 2.5), (0.05, 0.9), (1.1, 7.0))
_WIDE = ((8.0, 90.0), (90.0, 2_000.0))
_PIECEWISE = frozenset(["abs", "floor", "ceil", "root", "max", "min"])


def equal_values(gold: Formula, answer: Formula) -> bool:
    """Return whether two formulas are equal wherever both have a value. What is too large to be compared is not."""
    if gold == answer:
        return True
    if any(one == Symbol("oo") for formula in (gold, answer) for one in walk(formula)):
        return _shape(gold) == _shape(answer)
    try:
        return _exactly(gold, answer)
    except NotExact:
        pass
    except (TooLarge, Undefined):
        return _shape(gold) == _shape(answer)
    try:
        return _at_points(gold, answer)
    except (TooLarge, Undefined):
        return _shape(gold) == _shape(answer)


def within(gold: Formula, answer: Formula, tolerance: float) -> bool:
    """Return whether two constants differ by no more than a tolerance, relative to the gold one (absolute at 0)."""
    if variables(gold) or variables(answer):
        return False
    try:
        left, right = (NumericEvaluation(_DIGITS, {}).value(one) for one in (gold, answer))
        return bool(abs(left - right) <= tolerance * (abs(left) or 1))
    except (TooLarge, Undefined):
        return False


def proportional(gold: Formula, answer: Formula) -> int:
    """Return the sign of the constant by which one formula is a multiple of the other; 0 where it is none.

    Constants are no multiples of each other: an equation between numbers, and an identity, say nothing.
    """
    if variables(gold) != variables(answer) or is_constant(gold) or is_constant(answer):
        return 0
    # G(x)·A(y) = G(y)·A(x) for all x and y exactly if G/A is a constant.
    if not equal_values(Product((gold, _elsewhere(answer))), Product((_elsewhere(gold), answer))):
        return 0
    for point in _points(gold, answer):
        try:
            value = NumericEvaluation(_DIGITS, point).value(Product((gold, answer)))
        except (TooLarge, Undefined):
            continue
        if abs(value) > 1e-30 and abs(value.imag) < 1e-30:
            return 1 if value.real > 0 else -1
    return 1


def ascending(numbers: list[str]) -> list[str]:
    """Return texts of numbers in the order of their values; as they are where one is no real number."""
    values = []
    for text in numbers:
        try:
            values.append(float(NumericEvaluation(20, {}).value(read(text))))
        except (TooLarge, Undefined, Unreadable, TypeError, OverflowError):
            return numbers
    return [text for _, text in sorted(zip(values, numbers, strict=True), key=lambda pair: pair[0])]


def is_constant(formula: Formula) -> bool:
    """Return whether a formula has the same value wherever its variables are."""
    return not variables(formula) or equal_values(formula, _elsewhere(formula))


def _elsewhere(formula: Formula) -> Formula:
    """The formula with other names for its variables."""
    if isinstance(formula, Symbol):
        return Symbol(formula.name + "*") if variables(formula) else formula
    return rebuilt(formula, tuple(map(_elsewhere, parts(formula))))


def _exactly(gold: Formula, answer: Formula) -> bool:
    if not variables(gold) and not variables(answer):
        try:
            return fraction(gold) == fraction(answer)
        except (NotExact, TooLarge):
            pass  # the same may be known modulo a prime
    return all(residue(gold, *prime) == residue(answer, *prime) for prime in PRIMES)


def _at_points(gold: Formula, answer: Formula) -> bool:
    """Compare in floating point. Points at which roots and logarithms stay real count; others where there are none."""
    if sum(1 for formula in (gold, answer) for _ in walk(formula)) > _MOST_NODES:
        raise TooLarge
    if not variables(gold) and not variables(answer):
        return _agree(gold, answer, {})[0]
    real, unreal = 0, []
    piecewise = any(isinstance(one, Call) and one.name in _PIECEWISE for side in (gold, answer) for one in walk(side))
    for point in _points(gold, answer, piecewise):
        try:
            agree, left_reals = _agree(gold, answer, point)
        except Undefined:
            continue
        if left_reals:
            unreal.append(agree)
        elif not agree:
            return False
        elif (real := real + 1) == _AGREEING and not piecewise:
            return True
    return real > 1 or (bool(unreal) and all(unreal))


def _points(gold: Formula, answer: Formula, piecewise: bool = False) -> Iterator[dict[str, Fraction]]:
    """Twelve points, the same ones for the same variables, with fractions that are special for no formula.

    Args:
        piecewise: |x - 100| is 100 - x near 0, and so points on both sides of the formulas' own numbers are wanted.
    """
    names = sorted(variables(gold) | variables(answer))
    numbers = random.Random(f"prerlkit {names}")
    ranges: tuple[tuple[float, float], ...] = _RANGES
    if piecewise:
        written = {abs(one.value) for side in (gold, answer) for one in walk(side) if isinstance(one, Number)}
        large = [float(one) for one in written if 7 < one < 10**6]
        ranges += *_WIDE, *((1.1 * one, 3 * one) for one in ([max(large)] if large else []))
        for small in sorted({one for side in (gold, answer) for one in _constants(side) if 0 < abs(one) < 1}):
            yield dict.fromkeys(names, 3 - small / 2)  # just below or above a whole number
    for low, high in ranges:
        for signs in range(4):
            yield {
                name: Fraction(round(numbers.uniform(low, high) * 999_983), 999_983)
                * (-1 if signs >> (i % 2) & 1 else 1)
                for i, name in enumerate(names)
            }


def _constants(formula: Formula) -> Iterator[Fraction]:
    """The rational numbers that parts of the formula are."""
    for one in walk(formula):
        if not variables(one):
            try:
                yield fraction(one)
            except (NotExact, TooLarge, Undefined):
                continue


def _agree(gold: Formula, answer: Formula, point: dict[str, Fraction]) -> tuple[bool, bool]:
    """Whether the values agree at a point, and whether one left the reals on the way.

    The difference of equal values shrinks with the precision, that of others doesn't.
    """
    rough = NumericEvaluation(_DIGITS, point)
    left, right = rough.value(gold), rough.value(answer)
    digits = _DIGITS + rough.spread
    if digits > _MOST_DIGITS:
        raise TooLarge
    if rough.spread < _DIGITS // 3 and abs(left - right) > 1e-9 * max(abs(left), abs(right), 1e-9):
        return False, rough.left_reals
    gaps, size = [], 0
    for precision in (digits, 2 * digits):
        fine = NumericEvaluation(precision, point)
        left, right = fine.value(gold), fine.value(answer)
        gaps.append(abs(left - right))
        size = max(abs(left), abs(right))
    shrinks = gaps[1] * fine.mp.mpf(10) ** (digits // 2) < gaps[0]
    return bool(shrinks or gaps[1] <= size * fine.mp.mpf(10) ** (-5 * digits // 4)), rough.left_reals


def _shape(formula: Formula) -> Formula:
    """The formula with its numbers worked out where that is quick, and its terms and factors in one order."""
    try:
        value = fraction(formula)
        if max(value.numerator.bit_length(), value.denominator.bit_length()) < 10_000:
            return Number(value)
    except (NotExact, TooLarge, Undefined):
        pass
    new = rebuilt(formula, tuple(map(_shape, parts(formula))))
    match new:
        case Sum(terms):
            flat = [one for term in terms for one in (term.terms if isinstance(term, Sum) else (term,))]
            return Sum(tuple(sorted(flat, key=repr)))
        case Product(factors):
            flat = [one for factor in factors for one in (factor.factors if isinstance(factor, Product) else (factor,))]
            kept = [one for one in flat if one != Number(Fraction(1))]
            if kept.count(MINUS_ONE) % 2 == 0:
                kept = [one for one in kept if one != MINUS_ONE]
            return kept[0] if len(kept) == 1 else Product(tuple(sorted(kept, key=repr)))
        case Power(base, exponent) if exponent == Number(Fraction(1)):
            return base
    return new
