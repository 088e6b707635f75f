r"""Tells formulas that would take for ever to evaluate, such as `9^{9^{9^9}}`, without evaluating them."""

from __future__ import annotations

import re

_LARGEST_EXPONENT = 10_000  # 2^10000 has 3011 digits, worked out in microseconds; no answer needs more
_LARGEST_FACTORIAL = 2_000  # 5736 digits
_FACTORIAL = re.compile(r"(\d+)\s*\}?\)?\s*!")
_POWER = re.compile(r"\^|\*\*")


def too_large(formula: str) -> bool:
    """Whether a power or factorial of numbers in it is too large to be worked out. Errs on the side of too large."""
    if any(len(n) > 6 or int(n) > _LARGEST_FACTORIAL for n in _FACTORIAL.findall(formula)) or "!!" in formula:
        return True
    return any(_exponent_too_large(formula[power.end() :]) for power in _POWER.finditer(formula))


def _exponent_too_large(rest: str) -> bool:
    exponent = _operand(rest.lstrip())
    inner = _POWER.search(exponent)
    if inner is None:
        return any(len(n) > 5 or int(n) > _LARGEST_EXPONENT for n in re.findall(r"\d+", exponent)) or bool(
            # A product or factorial within an exponent multiplies what the numbers show.
            re.search(r"\d\s*(?:\*|\\cdot|\\times)\s*\d{3,}|!", exponent)
        )
    base = re.fullmatch(r"\{?\s*(\d{1,6})\s*", exponent[: inner.start()])
    power = re.fullmatch(r"\{?\s*(\d)\s*[\s})]*", exponent[inner.end() :])
    if base and power:
        return int(base.group(1)) ** int(power.group(1)) > _LARGEST_EXPONENT
    return bool(re.search(r"\d", exponent)) and not re.search(r"[a-z]", exponent)


def _operand(rest: str) -> str:
    """What a power sign applies to: a braced group, or all up to the next operator."""
    if rest[:1] in "{(":
        depth = 0
        for end, character in enumerate(rest):
            depth += (character in "{(") - (character in "})")
            if depth == 0:
                return rest[: end + 1] + ((_POWER.match(rest[end + 1 :]) and rest[end + 1 :]) or "")
        return rest
    return re.split(r"[+,=)\s]|(?<!^)-", rest, maxsplit=1)[0]
