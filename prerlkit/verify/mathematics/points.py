r"""Where two formulas with variables are compared: at points of no special kind, and around the formulas' own breaks.

`|x-100|` is `100-x` wherever x is small. So a formula with pieces (absolute values, even roots, rounding, inverse
functions) is looked at on both sides of each place where a piece may end: the roots of what is inside, and the places
that its constants suggest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from prerlkit.verify.mathematics.exact import NotExact, TooLarge, Undefined, fraction
from prerlkit.verify.mathematics.formula import Call, Formula, Number, Power, parts, replaced, variables, walk
from prerlkit.verify.mathematics.numeric import NumericEvaluation, context

_RANGES = ((0.2, 2.5), (0.05, 0.9), (1.1, 7.0))
_ROUNDING = frozenset(["floor", "ceil"])
_PIECES = _ROUNDING | {"abs", "max", "min", "asin", "acos", "atan", "acot", "asec", "acsc"}
_FAR = (12.7, 37.3, 431.7)
_DEGREE = 4  # of the polynomials whose roots are looked for
_WHOLE = range(-2, 4)  # values at which rounding is looked at
_MOST_BREAKS = 48
_LARGEST = 10**12


def has_pieces(*formulas: Formula) -> bool:
    """Return whether one of the formulas may follow different rules at different values of its variables."""
    return any(_inside(one) is not None for formula in formulas for one in walk(formula))


def _inside(formula: Formula) -> Formula | None:
    """What decides which piece of it counts; None for a formula without pieces."""
    inner = None
    match formula:
        case Call(name, arguments) if name in _PIECES:
            inner = arguments[0]
        case Call("root", (value, Number(index))) if index.denominator != 1 or index.numerator % 2 == 0:
            inner = value
        case Power(base, exponent) if not variables(exponent) and _is_even_root(exponent):
            inner = base
    return inner if inner is not None and variables(inner) else None


def _is_even_root(exponent: Formula) -> bool:
    try:
        return fraction(exponent).denominator % 2 == 0
    except (NotExact, TooLarge, Undefined):
        return False


def ordinary_points(*formulas: Formula) -> Iterator[dict[str, Fraction]]:
    """Twelve points, the same ones for the same variables, with fractions that are special for no formula."""
    names = sorted(frozenset().union(*map(variables, formulas)))
    numbers = random.Random(f"prerlkit {names}")
    for low, high in _RANGES:
        for signs in range(4):
            yield {
                name: Fraction(round(numbers.uniform(low, high) * 999_983), 999_983)
                * (-1 if signs >> (i % 2) & 1 else 1)
                for i, name in enumerate(names)
            }


def points_around_breaks(*formulas: Formula) -> Iterator[dict[str, Fraction]]:
    """Points between all places where a piece may end, and beyond them, one variable after the other."""
    origin = next(ordinary_points(*formulas))
    constants = sorted(set().union(*map(_constants, formulas)))[:12]
    rounds = any(isinstance(one, Call) and one.name in _ROUNDING for formula in formulas for one in walk(formula))
    for name in origin:
        found = _breaks(name, origin, constants, formulas)
        if len(found) > _MOST_BREAKS:
            found = found[:: len(found) // _MOST_BREAKS + 1] + found[-1:]
        # Rounding jumps at a place itself. Halves are exact in floating point.
        jumps = [place for place in found if rounds and place.denominator in (1, 2)]
        for value in (*_between(found), *jumps):
            yield {**origin, name: value}


def _between(places: list[Fraction]) -> Iterator[Fraction]:
    for low, high in pairwise(places):
        yield low + (high - low) * Fraction(4319, 9973)
    largest = max((abs(place) for place in places), default=Fraction(1))
    for far in (largest * Fraction(17_011, 9973) + Fraction(13, 9), *map(Fraction, _FAR)):
        yield far
        yield -far


def _breaks(
    name: str, origin: dict[str, Fraction], constants: list[Fraction], formulas: tuple[Formula, ...]
) -> list[Fraction]:
    """Ascending values of one variable, the others as at the origin."""
    found = {Fraction(0)}
    for formula in formulas:
        for one in walk(formula):
            if (inner := _inside(one)) is not None and name in variables(inner):
                for other, place in origin.items():
                    inner = inner if other == name else replaced(inner, other, Number(place))
                rounds = isinstance(one, Call) and one.name in _ROUNDING
                values = _WHOLE if rounds else (-1, 0, 1)  # an inverse function's argument is between -1 and 1
                found.update(*(_roots(inner, name, Fraction(value)) for value in values))
    for constant in constants:
        size = float(constant)
        for guess in (constant, *map(Fraction, (math.sqrt(size), math.log(size), math.log2(size), math.log10(size)))):
            found |= {guess, -guess}
    return sorted(one for one in found if abs(one) < _LARGEST)


def _roots(formula: Formula, name: str, value: Fraction) -> set[Fraction]:
    """Where a polynomial of one variable has a value; nothing for other formulas."""
    try:
        places = range(_DEGREE + 3)
        row = [fraction(replaced(formula, name, Number(Fraction(place)))) - value for place in places]
    except (NotExact, TooLarge, Undefined):
        return set()
    newton: list[Fraction] = []
    differences = row
    while differences:  # Newton's form, from repeated differences
        newton.append(differences[0] / math.factorial(len(newton)))
        differences = [high - low for low, high in pairwise(differences)]
    if any(newton[_DEGREE + 1 :]):
        return set()
    coefficients = [Fraction(0)]
    for place in reversed(range(_DEGREE + 1)):  # Horner: c + (x - place)(…)
        shifted = [Fraction(0), *coefficients]
        for i, one in enumerate(coefficients):
            shifted[i] -= place * one
        shifted[0] += newton[place]
        coefficients = shifted
    while coefficients and not coefficients[-1]:
        coefficients.pop()
    if len(coefficients) == 2:
        return {-coefficients[0] / coefficients[1]}
    if len(coefficients) < 2:
        return set()
    mp = context()
    mp.dps = 30
    try:
        roots = mp.polyroots([mp.mpf(one.numerator) / one.denominator for one in coefficients[::-1]], maxsteps=60)
    except (mp.NoConvergence, ZeroDivisionError):
        return set()
    return {Fraction(float(mp.re(root))) for root in roots}


def _constants(formula: Formula) -> set[Fraction]:
    """The sizes of the numbers in it, also of those worked out, as 10^{-9}."""
    found: set[Fraction] = set()
    for one in walk(formula):
        if variables(one) or (not isinstance(one, Number) and not parts(one)):
            continue
        try:
            value = NumericEvaluation(20, {}).value(one)
            size = abs(float(value.real))
        except (TooLarge, Undefined, TypeError, ValueError, OverflowError):
            continue
        if 0 < size < _LARGEST:
            found.add(abs(one.value) if isinstance(one, Number) else Fraction(size))
    return found
