"""Whether two formulas have the same value, for all values of their variables.

Fractions are compared exactly; polynomials and fractions of them modulo two primes; all else at points, at a precision
that follows the operands: 60 digits more than the terms of any sum differ in size. Nothing is expanded or simplified,
so a formula can't get larger than it was written.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from prerlkit.verify.mathematics.exact import PRIMES, NotExact, TooLarge, Undefined, fraction, residue
from prerlkit.verify.mathematics.formula import (
    MINUS_ONE,
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
from prerlkit.verify.mathematics.points import has_pieces, ordinary_points, points_around_breaks

_DIGITS = 60
_MOST_DIGITS = 3_000
_MOST_NODES = 1_000
_AGREEING = 4  # points that must agree; the first four have all patterns of signs of two variables


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
    for point in ordinary_points(gold, answer):
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
    """Compare in floating point. Points at which roots and logarithms stay real count; others where there are none.

    Formulas with pieces must agree everywhere that is looked at, also on where they are real.
    """
    if sum(1 for formula in (gold, answer) for _ in walk(formula)) > _MOST_NODES:
        raise TooLarge
    if not variables(gold) and not variables(answer):
        return _agree(gold, answer, {})[0]
    pieces = has_pieces(gold, answer)
    if pieces and not all(_alike(gold, answer, point) for point in points_around_breaks(gold, answer)):
        return False
    real, unreal = 0, []
    for point in ordinary_points(gold, answer):
        try:
            agree, left_reals = _agree(gold, answer, point)
        except Undefined:
            continue
        if left_reals:
            unreal.append(agree)
        elif not agree:
            return False
        elif (real := real + 1) == _AGREEING and not pieces:
            return True
    return real > 1 or (bool(unreal) and all(unreal))


def _alike(gold: Formula, answer: Formula, point: dict[str, Fraction]) -> bool:
    """Whether two formulas with pieces agree at a point, or neither has a real value there."""
    values: list[Any] = []
    for formula in (gold, answer):
        numeric = NumericEvaluation(_DIGITS, point)
        try:
            value = numeric.value(formula)
        except Undefined:
            values.append(None)
        except TooLarge:
            return True  # no reason to doubt what holds at the other points
        else:
            values.append(None if numeric.left_reals else value)
    if None in values:
        # Letters of several kinds are taken for positive: \sqrt{a}\sqrt{b} is \sqrt{ab}.
        return len(point) > 1 or values == [None, None]
    try:
        return _agree(gold, answer, point)[0]
    except (TooLarge, Undefined):
        return True


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
