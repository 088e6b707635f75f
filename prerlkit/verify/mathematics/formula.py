"""What a formula is once it is read: a small tree of numbers, symbols, sums, products, powers and calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

CONSTANTS = frozenset({"pi", "e", "i", "oo"})
"""Symbols with a fixed value: π, Euler's number, the imaginary unit, infinity."""


@dataclass(frozen=True, slots=True)
class Number:
    value: Fraction


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, a constant or a word, with its index and primes as part of the name."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    terms: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Power:
    base: Formula
    exponent: Formula


@dataclass(frozen=True, slots=True)
class Call:
    """A function by its name, such as sin, log (base e unless a second argument names one), root, factorial."""

    name: str
    arguments: tuple[Formula, ...]


Formula = Number | Symbol | Sum | Product | Power | Call

ONE = Number(Fraction(1))
MINUS_ONE = Number(Fraction(-1))


class Unreadable(ValueError):  # noqa: N818 - a finding
    """The text is no formula that the grammar knows."""


def negative(formula: Formula) -> Formula:
    """Return the formula with the other sign."""
    return Number(-formula.value) if isinstance(formula, Number) else Product((MINUS_ONE, formula))


def signed(sign: str, formula: Formula) -> Formula:
    """Return the formula with a sign before it."""
    return negative(formula) if sign == "-" else formula


def quotient(above: Formula, below: Formula) -> Formula:
    """Return above / below."""
    return Product((above, Power(below, MINUS_ONE)))


def difference(left: Formula, right: Formula) -> Formula:
    """Return left - right."""
    return Sum((left, negative(right)))


def parts(formula: Formula) -> tuple[Formula, ...]:
    """Return what a formula is directly made of."""
    match formula:
        case Sum(terms):
            return terms
        case Product(factors):
            return factors
        case Power(base, exponent):
            return base, exponent
        case Call(_, arguments):
            return arguments
    return ()


def walk(formula: Formula) -> Iterator[Formula]:
    """Yield a formula and all that is in it."""
    waiting = [formula]
    while waiting:
        waiting.extend(parts(one := waiting.pop()))
        yield one


def variables(formula: Formula) -> frozenset[str]:
    """Return the names of the symbols that have no fixed value."""
    return frozenset(one.name for one in walk(formula) if isinstance(one, Symbol)) - CONSTANTS


def rebuilt(formula: Formula, new: tuple[Formula, ...]) -> Formula:
    """Return a formula of the same kind from other parts."""
    match formula:
        case Sum():
            return Sum(new)
        case Product():
            return Product(new)
        case Power():
            return Power(*new)
        case Call(name, _):
            return Call(name, new)
    return formula


def replaced(formula: Formula, name: str, value: Formula) -> Formula:
    """Return the formula with a value in place of a symbol."""
    if isinstance(formula, Symbol):
        return value if formula.name == name else formula
    return rebuilt(formula, tuple(replaced(part, name, value) for part in parts(formula)))


def without_degrees(formula: Formula, factor: Formula) -> Formula:
    """Return the formula with `x°` as x times a factor: π/180 in an angle, 1 where only the number counts."""
    new = rebuilt(formula, tuple(without_degrees(part, factor) for part in parts(formula)))
    if isinstance(new, Call) and new.name == "degree":
        return Product((new.arguments[0], factor))
    return new
