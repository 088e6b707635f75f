"""Evaluates formulas without rounding: as fractions, and modulo a prime where fractions would get too long.

An identity of polynomials or fractions that holds at random residues modulo two primes of 128 bits holds: the chance
of an accident is below 2^-200 (the Schwartz-Zippel lemma), and no formula gets larger on the way.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction

from prerlkit.verify.mathematics.formula import Call, Formula, Number, Power, Product, Sum, Symbol

_MOST_BITS = 120_000  # of a numerator or denominator: 36,000 digits, worked out in milliseconds
_LARGEST_ROOT = 20_000  # bits of which a root is looked for
_LARGEST_FACTORIAL = 10_000
PRIMES = (
    (200056948608572381595793364871697016897, 95540213955503421866409623755222429022),
    (260487737367389327571149411113287956369, 207873895652481575432643866042923462901),
)
"""Two primes of 128 bits, each with a square root of -1 modulo it, which is the imaginary unit there."""


class NotExact(ValueError):  # noqa: N818 - a finding
    """The value is irrational, or the formula isn't made of sums, products and whole powers."""


class TooLarge(ValueError):  # noqa: N818 - a finding
    """The value has more digits than are worked out."""


class Undefined(ValueError):  # noqa: N818 - a finding
    """The formula has no value, as 1/0."""


def fraction(formula: Formula) -> Fraction:
    """Return the value of a formula without variables.

    Raises:
        NotExact: it is irrational or complex, or has variables.
        TooLarge: its digits are too many.
        Undefined: it divides by zero.
    """
    match formula:
        case Number(value):
            return value
        case Sum(terms):
            return _limited(sum(map(fraction, terms), Fraction(0)))
        case Product(factors):
            value = Fraction(1)
            for factor in factors:
                value = _limited(value * fraction(factor))
            return value
        case Power(base, exponent):
            return _power(fraction(base), fraction(exponent))
        case Call(name, arguments) if name in _CALLS:
            return _CALLS[name](*map(fraction, arguments))
    raise NotExact(str(formula)[:80])


def _limited(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise TooLarge
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0:
            raise NotExact("a complex root")
        return _root(_power(base, Fraction(exponent.numerator)), Fraction(exponent.denominator))
    power = exponent.numerator
    if base == 0:
        if power <= 0:
            raise Undefined("0 to a power that is not positive")
        return base
    if abs(base) == 1:
        return base if power % 2 else Fraction(1)
    bits = max(abs(base.numerator), base.denominator).bit_length()
    if abs(power) * (bits - 1) > _MOST_BITS:
        raise TooLarge
    return base**power


def _root(value: Fraction, index: Fraction) -> Fraction:
    """The real root where it is rational, also an odd one of a negative number."""
    if index.denominator != 1 or not 1 <= index <= 10_000:
        raise NotExact("root")
    n = index.numerator
    if value < 0:
        if n % 2 == 0:
            raise NotExact("a complex root")
        return -_root(-value, index)
    return Fraction(_whole_root(value.numerator, n), _whole_root(value.denominator, n))


def _whole_root(value: int, n: int) -> int:
    if n == 2:
        root = math.isqrt(value)
    elif value.bit_length() > _LARGEST_ROOT:
        raise NotExact("a root of a large number")
    elif value < 2:
        root = value
    else:
        root = 1 << -(-value.bit_length() // n)
        while (lower := ((n - 1) * root + value // root ** (n - 1)) // n) < root:
            root = lower
    if root**n != value:
        raise NotExact("an irrational root")
    return root


def _whole(value: Fraction, largest: int) -> int:
    if value.denominator != 1 or value < 0:
        raise NotExact("not a natural number")
    if value > largest:
        raise TooLarge
    return value.numerator


def _factorial(value: Fraction) -> Fraction:
    return Fraction(math.factorial(_whole(value, _LARGEST_FACTORIAL)))


def _double_factorial(value: Fraction) -> Fraction:
    return Fraction(math.prod(range(_whole(value, _LARGEST_FACTORIAL), 0, -2)))


def _binomial(n: Fraction, k: Fraction) -> Fraction:
    return Fraction(math.comb(_whole(n, _LARGEST_FACTORIAL), _whole(k, _LARGEST_FACTORIAL)))


def _gamma(value: Fraction) -> Fraction:
    return _factorial(value - 1)


def _log(value: Fraction, base: Fraction | None = None) -> Fraction:
    if base is None or base <= 0 or base == 1 or value <= 0:
        if value == 1:
            return Fraction(0)
        raise NotExact("a logarithm")
    power = round((_log2(value)) / (_log2(base)))
    if abs(power) < _MOST_BITS and _power(base, Fraction(power)) == value:
        return Fraction(power)
    raise NotExact("a logarithm")


def _log2(value: Fraction) -> float:
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    return shift + math.log2(value / Fraction(2) ** shift)


def _gcd(*values: Fraction) -> Fraction:
    return Fraction(math.gcd(*(_whole(value, 10**300) for value in values)))


def _lcm(*values: Fraction) -> Fraction:
    if len(values) > 32:
        raise TooLarge
    return Fraction(math.lcm(*(_whole(value, 10**300) for value in values)))


_CALLS: Mapping[str, Callable[..., Fraction]] = {
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "gcd": _gcd,
    "lcm": _lcm,
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "gamma": _gamma,
    "binomial": _binomial,
    "root": _root,
    "log": _log,
}


def residue(formula: Formula, prime: int, imaginary: int) -> int:
    """Return the value modulo a prime, with a fixed arbitrary residue for each variable, for π and for e.

    Args:
        imaginary: a square root of -1 modulo the prime.

    Raises:
        NotExact: something in it is no sum, product, whole power or factorial.
        TooLarge: an exponent is.
        Undefined: it divides by zero there.
    """
    match formula:
        case Number(value):
            return value.numerator * _inverse(value.denominator, prime) % prime
        case Symbol("i"):
            return imaginary
        case Symbol(name) if name != "oo":
            return _arbitrary(name, prime)
        case Sum(terms):
            return sum(residue(term, prime, imaginary) for term in terms) % prime
        case Product(factors):
            product = 1
            for factor in factors:
                product = product * residue(factor, prime, imaginary) % prime
            return product
        case Power(base, exponent):
            power = fraction(exponent)
            if power.denominator != 1:
                raise NotExact("a root")
            below = residue(base, prime, imaginary)
            return pow(below if power >= 0 else _inverse(below, prime), abs(power.numerator), prime)
        case Call(name, _) if name in _CALLS:
            value = fraction(formula)
            return value.numerator * _inverse(value.denominator, prime) % prime
    raise NotExact(str(formula)[:80])


def _inverse(value: int, prime: int) -> int:
    if value % prime == 0:
        raise Undefined("division by zero")
    return pow(value, -1, prime)


def _arbitrary(name: str, prime: int) -> int:
    seed = zlib.crc32(name.encode())
    return pow(0x9E3779B97F4A7C15 + seed, 4_294_967_311, prime)
