"""Amounts in several units: 2 hours 30 minutes, 5'6\'\', 3 lb 4 oz; and a quotient with its remainder."""

from __future__ import annotations

import re
from fractions import Fraction

from prerlkit.verify.mathematics.formula import Number, Product
from prerlkit.verify.mathematics.grammar import readable
from prerlkit.verify.mathematics.normal import plain
from prerlkit.verify.mathematics.quantity import quantity
from prerlkit.verify.mathematics.units import Unit, unit_of
from prerlkit.verify.mathematics.value import equal_values

_PART = re.compile(r"\s*(?:,\s*)?(?:and\s+)?(\d+(?:\.\d+)?)\s*([A-Za-z]+)\.?")
_FEET = re.compile(r"(\d+)\s*'\s*(\d+)\s*(?:''|\")")
_REMAINDER = re.compile(r"(-?\d+)\s*(?:,?\s*(?:with )?(?:a )?(?:remainder|rem|R|r)\.?(?: of)?:?)\s*(\d+)")


def as_compound(gold: str, answer: str) -> bool | None:
    """Compare amounts of several units by their sum in one unit; None where the gold answer is none.

    A plain number counts in the first unit.
    """
    left, right = compound(gold), compound(answer)
    if left is None and right is None:
        return None
    if left and right:
        return left[0] == right[0] and left[1].dimensions == right[1].dimensions
    total, unit = left or right or (Fraction(0), Unit(Fraction(1), ()))
    other = quantity(answer if left else gold)
    formula = readable(other.value)
    if formula is None or (other.label and (other.unit is None or other.unit.dimensions != unit.dimensions)):
        return False if left else None
    scale = other.scale * (other.unit.scale if other.unit else unit.scale)
    return equal_values(Product((Number(scale), formula)), Number(total))


def compound(text: str) -> tuple[Fraction, Unit] | None:
    """Return the amount in the dimension's own scale and the first unit of `2 hours 30 minutes`; None for others."""
    text = plain(text)
    if feet := _FEET.fullmatch(text):
        text = f"{feet[1]} ft {feet[2]} in"
    total, first, before, at, count = Fraction(0), None, None, 0, 0
    while part := _PART.match(text, at):
        unit = unit_of(part[2])
        if unit is None or (before and (unit.dimensions != before.dimensions or unit.scale >= before.scale)):
            return None
        total += Fraction(part[1]) * unit.scale
        first, before, at, count = first or unit, unit, part.end(), count + 1
    return (total, first) if first and count > 1 and not text[at:].strip(" .") else None


def as_remainder(gold: str, answer: str) -> bool | None:
    """Compare quotients with remainders, `3 R 2`; None where the gold answer is none."""
    left, right = _REMAINDER.fullmatch(plain(gold)), _REMAINDER.fullmatch(plain(answer))
    if left is None:
        return None
    return right is not None and left.groups() == right.groups()
