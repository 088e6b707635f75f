"""Evaluates formulas in floating point of any precision, with mpmath: what is irrational, complex or has functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from prerlkit.verify.mathematics.exact import TooLarge, Undefined
from prerlkit.verify.mathematics.formula import Call, Formula, Number, Power, Product, Sum, Symbol

_HIGHEST_POWER = 300  # bits of an exponent: e^(2^300) still has a magnitude that is a plain integer
_LARGEST_ANGLE = 4_000  # bits of an angle: each costs one bit of precision
_LARGEST_GAMMA = 100  # bits


@lru_cache(maxsize=1)
def context() -> Any:
    """Return mpmath's arithmetic with a precision that no other code changes."""
    return importlib.import_module("mpmath").ctx_mp.MPContext()


class NumericEvaluation:
    """The value of formulas at one point, to a number of decimal digits.

    Attributes:
        spread: by how many digits the terms of one sum differ in size, at most: what is lost when they cancel.
        left_reals: a root, logarithm or power of real numbers was not real.
    """

    def __init__(self, digits: int, point: Mapping[str, Fraction]) -> None:
        self.mp = context()
        self.mp.dps = digits
        self.spread = 0
        self.left_reals = False
        self._point = point

    def value(self, formula: Formula) -> Any:
        """Return a real or complex value.

        Raises:
            TooLarge: it has no magnitude that can be held, or takes too long.
            Undefined: it has none, or a function is unknown.
        """
        match formula:
            case Number(value):
                return self._number(value)
            case Symbol(name):
                return self._symbol(name)
            case Sum(terms):
                return self._sum([self.value(term) for term in terms])
            case Product(factors):
                product = self.mp.mpf(1)
                for factor in factors:
                    product = product * self.value(factor)
                return product
            case Power(base, exponent):
                return self._power(self.value(base), self.value(exponent))
            case Call(name, arguments):
                return self._call(name, [self.value(argument) for argument in arguments])

    def _number(self, value: Fraction) -> Any:
        return self.mp.mpf(value.numerator) / value.denominator

    def _symbol(self, name: str) -> Any:
        match name:
            case "pi":
                return +self.mp.pi
            case "e":
                return +self.mp.e
            case "i":
                return self.mp.mpc(0, 1)
        if name not in self._point:
            raise Undefined(name)
        return self._number(self._point[name])

    def _sum(self, terms: list[Any]) -> Any:
        sizes = [self.mp.mag(term) for term in terms if term]
        if sizes:
            self.spread = max(self.spread, int((max(sizes) - min(sizes)) * 0.302) + 1)
        return self.mp.fsum(terms)

    def _power(self, base: Any, exponent: Any) -> Any:
        if not base:
            if self.mp.re(exponent) <= 0:
                raise Undefined("0 to a power that is not positive")
            return self.mp.mpf(0)
        if self.mp.mag(exponent or 1) > _HIGHEST_POWER or self.mp.mag(self.mp.mag(base) or 1) > _HIGHEST_POWER:
            raise TooLarge
        if not self._real(base) and abs(exponent) > 10**6:
            raise TooLarge
        power = self.mp.power(base, exponent)
        self._note(power, base, exponent)
        return power

    def _call(self, name: str, values: list[Any]) -> Any:
        call = _CALLS.get(name)
        if call is None:
            raise Undefined(f"unknown function: {name}")
        if name in ("gamma", "factorial", "binomial", "double_factorial"):
            if any(self.mp.mag(value or 1) > _LARGEST_GAMMA or not self._real(value) for value in values):
                raise TooLarge
        elif any(self.mp.mag(value or 1) > _LARGEST_ANGLE for value in values) and name not in ("abs", "root", "log"):
            raise TooLarge
        try:
            result = call(self.mp, *values)
        except (ValueError, ZeroDivisionError, OverflowError, TypeError) as error:
            raise Undefined(f"{name}: {error}") from error
        self._note(result, *values)
        return result

    def _note(self, result: Any, *operands: Any) -> None:
        if not self._real(result) and all(map(self._real, operands)):
            self.left_reals = True

    def _real(self, value: Any) -> bool:
        return not isinstance(value, self.mp.mpc) or not value.imag


def _root(mp: Any, value: Any, index: Any) -> Any:
    """The principal root; the real one where an odd root of a negative number is written as a root."""
    if isinstance(value, mp.mpf) and value < 0 and index == mp.floor(index) and index % 2 == 1:
        return -mp.power(-value, 1 / index)
    return mp.sqrt(value) if index == 2 else mp.power(value, 1 / index)


def _log(mp: Any, value: Any, base: Any = None) -> Any:
    if not value:
        raise ValueError("of 0")
    return mp.log(value) if base is None else mp.log(value) / mp.log(base)


def _double_factorial(mp: Any, value: Any) -> Any:
    return mp.fac2(value)


_CALLS: Mapping[str, Callable[..., Any]] = {
    **{name: (lambda mp, value, name=name: getattr(mp, name)(value)) for name in (
        "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot", "asec", "acsc",
        "sinh", "cosh", "tanh", "coth", "floor", "ceil", "gamma", "factorial", "binomial",
    )},
    "binomial": lambda mp, n, k: mp.binomial(n, k),
    "max": lambda mp, *values: max(values),
    "min": lambda mp, *values: min(values),
    "abs": lambda mp, value: abs(value),
    "root": _root,
    "log": _log,
    "double_factorial": _double_factorial,
}  # fmt: skip
