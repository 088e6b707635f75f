"""Works out finite sums and products of rational terms, which the grammar doesn't read."""

from __future__ import annotations

import re
from fractions import Fraction

from prerlkit.verify.mathematics.exact import NotExact, TooLarge, Undefined, fraction
from prerlkit.verify.mathematics.formula import Number, Product, Sum, replaced
from prerlkit.verify.mathematics.grammar import readable

_MOST = 1_000  # terms
_REPEATED = re.compile(
    r"\\(?P<kind>sum|prod)\s*_\s*\{\s*(?P<name>[a-zA-Z])\s*=\s*(?P<low>-?\d{1,9})\s*\}"
    r"\s*\^\s*(?:\{\s*(?P<high>-?\d{1,9})\s*\}|(?P<digit>\d))(?P<term>.+)",
    re.DOTALL,
)


def finite(text: str) -> Fraction | None:
    """Return the value of `\\sum_{k=1}^{10} k`; None for what is no sum of up to a thousand rational terms."""
    found = _REPEATED.fullmatch(text)
    term = readable(found["term"]) if found else None
    if not found or term is None:
        return None
    numbers = range(int(found["low"]), int(found["high"] or found["digit"]) + 1)
    if isinstance(term, Sum) and not found["term"].strip().startswith(("(", "{", "[")):
        return None  # where the sum ends is unclear
    if len(numbers) > _MOST:
        return None
    terms = tuple(replaced(term, found["name"], Number(Fraction(number))) for number in numbers)
    try:
        return fraction(Sum(terms) if found["kind"] == "sum" else Product(terms))
    except (NotExact, TooLarge, Undefined):
        return None
