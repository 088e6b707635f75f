"""Generated rows: problems whose answers are known because the question is made from them.

A new generator is one function under `@generator(name, its settings class)`. It must return distinct rows that depend
on its seed only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from prerlkit.errors import UsageError
from prerlkit.seeds import derive
from prerlkit.settings import Settings, mistake
from prerlkit.suggest import nearest

Row = dict[str, Any]
Make = Callable[[Any, int, int], list[Row]]
"""(settings, number of rows, seed) → rows."""


@dataclass(frozen=True, slots=True)
class Known:
    """A generator in the registry."""

    settings: type[Settings]
    make: Make


REGISTRY: dict[str, Known] = {}


def generator(name: str, settings: type[Settings]) -> Callable[[Make], Make]:
    """Register a function as the generator of that name; ValueError when the name is taken."""

    def register(make: Make) -> Make:
        if name in REGISTRY:
            raise ValueError(f'two generators are named "{name}"')
        REGISTRY[name] = Known(settings, make)
        return make

    return register


def generate(name: str, rows: int, seed: int, settings: Mapping[str, Any]) -> list[Row]:
    """Return `rows` distinct rows of that generator.

    Raises:
        UsageError: no such generator, a setting that is unknown or wrong, or more rows than exist.
    """
    checked = check(name, settings)
    return REGISTRY[name].make(checked, rows, seed)


def check(name: str, settings: Mapping[str, Any]) -> Settings:
    """Return the checked settings of a generator. Raise UsageError: no such generator, or a wrong setting."""
    if name not in REGISTRY:
        raise UsageError(f'no generator is named "{name}"{nearest(name, REGISTRY)}')
    known = REGISTRY[name]
    try:
        return known.settings.model_validate(dict(settings))
    except ValidationError as error:
        raise UsageError("\n".join(_explain(name, known.settings, item) for item in error.errors())) from error


def _explain(name: str, settings: type[Settings], item: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f'generator "{name}" has no setting {key}{nearest(key, settings.model_fields)}'
    return f'generator "{name}"{f", setting {key}" if key else ""}: {mistake(item)}, not {item["input"]!r}'


_Operand = Annotated[int, Field(strict=True, ge=-(10**15), le=10**15)]


class ArithmeticSettings(Settings):
    """The form of the sums."""

    operations: tuple[Literal["+", "-", "*"], ...] = ("+",)
    """Which signs may stand between terms."""
    terms: Annotated[int, Field(strict=True, ge=2, le=32)] = 2
    """Numbers in each question."""
    low: _Operand = 0
    """The smallest number that may occur."""
    high: _Operand = 99
    """The largest."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise ValueError("operations needs at least one of +, - and *, each once")
        return self


@generator("arithmetic", ArithmeticSettings)
def arithmetic(settings: ArithmeticSettings, rows: int, seed: int) -> list[Row]:
    """Return rows such as `What is 7 + 5?` with answer `12`; columns question, answer and expression (`7 + 5`)."""
    numbers, signs = settings.high - settings.low + 1, len(settings.operations)
    exist = numbers**settings.terms * signs ** (settings.terms - 1)
    if rows > exist:
        raise UsageError(
            f'generator "arithmetic" was asked for {rows} distinct rows, but only {exist} exist with these settings',
            "Ask for fewer rows, or widen low, high, terms or operations.",
        )
    bases = [numbers] * settings.terms + [signs] * (settings.terms - 1)
    # Raw draws, because numpy keeps only these stable: a seed gives the same rows in later versions.
    draws = np.random.Philox(derive(seed, "arithmetic"))
    if exist <= 4 * rows:  # rejection would be slow when most of the existing problems are wanted: shuffle all of them
        places = np.argsort(draws.random_raw(exist), kind="stable")[:rows]
        picked = [_digits(int(place), bases) for place in places]
    else:
        seen: dict[tuple[int, ...], None] = {}  # a dict keeps the order
        while len(seen) < rows:
            # Modulo favours some numbers, by less than one part in 9,000 even for the widest range.
            seen[tuple(int(raw) % base for raw, base in zip(draws.random_raw(len(bases)), bases, strict=True))] = None
        picked = list(seen)
    return [_sum(settings, digits) for digits in picked]


def _digits(index: int, bases: list[int]) -> tuple[int, ...]:
    digits = []
    for base in bases:
        index, digit = divmod(index, base)
        digits.append(digit)
    return tuple(digits)


def _sum(settings: ArithmeticSettings, digits: tuple[int, ...]) -> Row:
    terms = [settings.low + digit for digit in digits[: settings.terms]]
    signs = [settings.operations[digit] for digit in digits[settings.terms :]]
    expression = str(terms[0])
    done, product, sign = 0, terms[0], 1  # `product` is the run of factors that `sign` will add to `done`
    for operation, term in zip(signs, terms[1:], strict=True):
        expression += f" {operation} {term}" if term >= 0 else f" {operation} ({term})"
        if operation == "*":
            product *= term
        else:
            done, product, sign = done + sign * product, term, 1 if operation == "+" else -1
    return {"question": f"What is {expression}?", "answer": str(done + sign * product), "expression": expression}
