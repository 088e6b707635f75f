"""Wrong answers close to the right one, and constants: what a comparison that is too lenient lets pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

CONSTANTS: tuple[tuple[str, ...], ...] = (
    ("x^2+1=0",), ("x=x", "0=0"), ("0", "-0"), ("1",), ("-1",), ("2",), ("x",),
    ("A", "(A)"), ("B", "(B)"), ("C", "(C)"), ("D", "(D)"),
    (r"\infty", "infinity", r"+\infty"), ("True", "true"), ("nan",), ("[]",),
    (r"\emptyset", r"\varnothing", r"\text{no solution}", r"\{\}", "none", "None"),
)  # fmt: skip
"""Answers that are tried on every row, the first of each group, but for rows whose gold answer is one of the group."""

_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\\[dt]?frac\{-?\d+\}\{\d+\}|\d+/\d+)")
_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_EXPONENT = re.compile(r"\^(?:\{(\d+)\}|(\d))")
_UNIT = re.compile(
    r"(\d[})]*)(?:\s|\\[,;: ]|~)*(?:\\(?:text|mathrm|mbox)\{\s*[a-zA-Z]+[^{}]*\}|\^\{?\\circ\}?|[a-zA-Z]{2,})$"
)
_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*\\?%")


def constants(answer: str) -> Mapping[str, str]:
    """Return the constants that are not this row's answer, by the name of the attempt."""
    own = {answer.strip(), answer.strip().strip("${} "), _right_side(answer)}
    number = _value(_UNIT.sub(r"\1", _right_side(answer)))  # units may be left out
    percent = _PERCENT.fullmatch(_right_side(answer))
    values = {number} if percent is None else {Fraction(percent[1]), Fraction(percent[1]) / 100}
    return {
        f"constant: {group[0]}": group[0]
        for group in CONSTANTS
        if not own & set(group) and (_value(group[0]) is None or _value(group[0]) not in values)
    }


def changes(answer: str) -> Mapping[str, str]:
    """Return wrong answers made from a gold answer by one change, by the name of the attempt."""
    made = {name: change(answer.strip()) for name, change in _CHANGES.items()}
    return {name: text for name, text in made.items() if text is not None and text != answer.strip()}


def _letter(answer: str) -> str | None:
    found = list(_LETTER.finditer(answer))
    if not found:
        return None
    last = found[-1]
    others = "ABCDEFGH" if last[0].isupper() else "zqwkv"
    other = next(letter for letter in others if letter not in answer)
    return answer[: last.start()] + other + answer[last.end() :]


def _letter_added(answer: str) -> str | None:
    return f"{answer}x" if _value(answer) else None


def _exponent(answer: str) -> str | None:
    """One more in the last exponent, or a square. Powers of 0 and 1 do not change with it."""
    found = list(_EXPONENT.finditer(answer))
    if found:
        last = found[-1]
        base = answer[: last.start()].rstrip()[-1:]
        raised = f"^{{{int(last[1] or last[2]) + 1}}}"
        return None if base in ("0", "1", "}", ")") else answer[: last.start()] + raised + answer[last.end() :]
    value = _value(answer)
    return f"({answer})^2" if value is not None and value not in (0, 1) else None


def _sign(answer: str) -> str | None:
    return (answer.removeprefix("-") if answer.startswith("-") else f"-{answer}") if _value(answer) else None


def _unit(answer: str) -> str | None:
    found = _UNIT.search(answer)
    if not found:
        return None
    other = r"\text{ kg}" if "kg" not in answer and "kilogram" not in answer else r"\text{ hours}"
    return answer[: found.end(1)] + other


def _percent(factor: Fraction) -> Callable[[str], str | None]:
    def change(answer: str) -> str | None:
        found = _PERCENT.fullmatch(answer)
        # A hundredfold percentage of a number without a percent sign: under no reading of "%" the number itself.
        value = Fraction(found[1]) * factor if found else (_value(answer) or 0) * 100 * factor
        return rf"{_decimal(value)}\%" if value and value.denominator in (1, 2, 4, 5, 10, 20, 25, 50, 100) else None

    return change


def _written(form: str) -> Callable[[str], str | None]:
    """A form around the gold answer that means another one, for numbers but 0."""
    return lambda answer: form.format(answer) if _value(answer) else None


_CHANGES: Mapping[str, Callable[[str], str | None]] = {
    "gold, another letter": _letter,
    "gold, a letter added": _letter_added,
    "gold, another exponent": _exponent,
    "gold, another sign": _sign,
    "gold, another unit": _unit,
    "gold times 100 as percent": _percent(Fraction(100)),
    "gold, millions of it": _written(r"{}\text{{ million}}"),
    "2x = gold": _written("2x = {}"),
    "x - 1 = gold": _written("x - 1 = {}"),
}


def _right_side(answer: str) -> str:
    return answer.rpartition("=")[2].strip().strip("$")


def _value(answer: str) -> Fraction | None:
    """Return the value of a plain number or fraction; None for all else."""
    bare = answer.strip().strip("$").replace(",", "")
    if not _NUMBER.fullmatch(bare) or len(bare) > 50:
        return None
    parts = re.findall(r"-?\d+(?:\.\d+)?", bare)
    value = Fraction(parts[0])
    if len(parts) > 1:
        value = value / Fraction(parts[1]) if Fraction(parts[1]) else Fraction(0)
    return -value if bare.startswith("-\\") else value


def _decimal(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"
