"""Writes a gold answer in another way: with the same value, or with another one by a single change."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from fractions import Fraction

from prerlkit.verify.mathematics.normal import split_top

Rewrite = Callable[[str, random.Random], str | None]
"""None where a way of writing doesn't suit the answer."""

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FRACTION = re.compile(r"(-?)\\frac\{(\d+)\}\{(\d+)\}")
_FORMULA = re.compile(r"[^,;:{}=<>]*|[^,;:=<>]*\\(?:frac|sqrt)[^,;:=<>]*")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def rewritten(gold: str, source: random.Random) -> tuple[str, str] | None:
    """Return the name of a way of writing and the answer written so, its value unchanged; None where none suits."""
    return _one_of(SAME_VALUE, gold, source)


def changed(gold: str, source: random.Random) -> tuple[str, str] | None:
    """Return the name of a change and the changed answer, its value another one; None where none suits."""
    return _one_of(OTHER_VALUE, gold, source)


def _one_of(ways: dict[str, Rewrite], gold: str, source: random.Random) -> tuple[str, str] | None:
    for name in source.sample(sorted(ways), len(ways)):
        text = ways[name](gold, source)
        if text is not None and text.strip() and text != gold:
            return name, text
    return None


def _is_number(gold: str) -> bool:
    return _NUMBER.fullmatch(gold) is not None


def _is_value(gold: str) -> bool:
    """A number or formula, no list, point, set, equation, word or numeral in a base."""
    if not re.search(r"\d|\\|[a-z]", gold) or re.search(r"[A-Z]|_|[a-z]{3}", _COMMAND.sub("", gold)):
        return False
    return not re.search(r"[,;:=<>\[\]]|or|pmatrix|\\cup|\\approx|\\le|\\in", gold)


def _replaced_once(text: str, pattern: str, new: Callable[[re.Match[str]], str], source: random.Random) -> str | None:
    found = list(re.finditer(pattern, text))
    if not found:
        return None
    one = source.choice(found)
    return text[: one.start()] + new(one) + text[one.end() :]


def _spaced(gold: str, source: random.Random) -> str | None:
    if re.search(r"[A-Za-z]{3}", _COMMAND.sub("", gold)) or "pmatrix" in gold:
        return None
    return re.sub(r"(?<=[^\\{^_])([-+=,<>()])(?![,0-9]{3})", r" \1 ", gold)


def _sum_in_another_order(gold: str, source: random.Random) -> str | None:
    if not _is_value(gold) or "\\pm" in gold:
        return None
    terms = [term for term in re.split(r"(?=[-+])", "\x00".join(split_top(gold, "\x01"))) if term]
    if len(terms) < 2 or any(
        term.count("{") != term.count("}") or term.count("(") != term.count(")") for term in terms
    ):
        return None
    if any(re.fullmatch(r"[-+]?", term) or term.endswith("^") for term in terms):
        return None
    shuffled = source.sample(terms, len(terms))
    return "".join(term if term[0] in "+-" else f"+{term}" for term in shuffled).removeprefix("+")


def _exact_decimal(gold: str, source: random.Random) -> str | None:
    if not (found := _FRACTION.fullmatch(gold)):
        return None
    value = Fraction(int(found[2]), int(found[3]))
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return None
    text = f"{float(value):.15f}".rstrip("0")
    return found[1] + text if Fraction(text) == value else None


def _fraction_of_decimal(gold: str, source: random.Random) -> str | None:
    if not re.fullmatch(r"-?\d*\.\d+", gold):
        return None
    value = Fraction(gold)
    return rf"{'-' if value < 0 else ''}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _with_unit(gold: str, source: random.Random) -> str | None:
    units = (
        r"\text{ cm}",
        r"\text{ units}",
        r" dollars",
        r"\mathrm{~kg}",
        r"\text{ square feet}",
        r"^\circ",
        r"\text{ apples}",
    )
    return gold + source.choice(units) if _is_number(gold) else None


def _parts_in_another_order(gold: str, source: random.Random) -> str | None:
    if re.search(r"[\[(]|\\begin|_", gold) or re.fullmatch(r"-?\d{1,3}(,\d{3})+", gold):
        return None
    parts = [part for part in split_top(gold) if part]
    if len(parts) < 2 or "{,}" in gold or "=" in gold:
        return None
    return ", ".join(source.sample(parts, len(parts)))


def _as_inequality(gold: str, source: random.Random) -> str | None:
    found = re.fullmatch(r"([\[(])([^,]+),([^,]+)([\])])", gold)
    if not found or ("infty" not in gold and found[1] + found[4] == "()"):
        return None
    low, high = ("<" if found[1] == "(" else r"\le"), ("<" if found[4] == ")" else r"\le")
    if found[2] == r"-\infty":
        return rf"x {high} {found[3]}"
    if found[3] == r"\infty":
        return rf"x {'>' if found[1] == '(' else chr(92) + 'ge'} {found[2]}"
    return rf"{found[2]} {low} x {high} {found[3]}"


SAME_VALUE: dict[str, Rewrite] = {
    "spaces": _spaced,
    "dfrac": lambda gold, source: gold.replace(r"\frac", source.choice([r"\dfrac", r"\tfrac"])),
    "stretched brackets": lambda gold, source: re.sub(
        r"(?<!\\)([\])])", r"\\right\1", re.sub(r"(?<!\\)(?<!sqrt)([\[(])", r"\\left\1", gold)
    ) if r"\sqrt[" not in gold else None,
    "sum in another order": _sum_in_another_order,
    "fraction with a slash": lambda gold, source: _FRACTION.sub(r"\1\2/\3", gold)
    if _FRACTION.fullmatch(gold) else None,
    "fraction as a decimal": _exact_decimal,
    "decimal as a fraction": _fraction_of_decimal,
    "integer with .0": lambda gold, source: f"{gold}.0" if re.fullmatch(r"-?\d+", gold) else None,
    "x =": lambda gold, source: f"{source.choice('xyn')} = {gold}" if _is_value(gold) else None,
    "a unit": _with_unit,
    "thousands": lambda gold, source: f"{int(gold):,}" if re.fullmatch(r"-?\d{4,}", gold) else None,
    "parts in another order": _parts_in_another_order,
    "a set": lambda gold, source: rf"\{{{gold}\}}" if _parts_in_another_order(gold, source) else None,
    "dollars": lambda gold, source: f"${gold}$",
    "braces": lambda gold, source: f"{{{gold}}}",
    "a full stop": lambda gold, source: f"{gold}.",
    "short roots": lambda gold, source: re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", gold),
    "short fractions": lambda gold, source: re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", gold),
    "brackets": lambda gold, source: f"({gold})" if _is_value(gold) else None,
    "a factor of 1": lambda gold, source: rf"1\cdot({gold})" if _is_value(gold) else None,
    "displaystyle": lambda gold, source: rf"\displaystyle {gold}",
    "an inequality": _as_inequality,
    "text": lambda gold, source: rf"\text{{{gold}}}" if re.fullmatch(r"\{?[A-Za-z]{3,}\}?", gold) else None,
}  # fmt: skip


def _other_digit(found: re.Match[str], source: random.Random) -> str:
    return source.choice([digit for digit in "123456789" if digit != found[0]])


def _letter(found: re.Match[str], source: random.Random) -> str:
    return source.choice([letter for letter in "abckmnpqrtuvwz" if letter != found[0].lower()])


_LETTER = r"(?<![\\A-Za-z])[A-Za-df-hj-z](?![A-Za-z])"

OTHER_VALUE: dict[str, Rewrite] = {
    "a digit": lambda gold, source: _replaced_once(gold, r"\d", lambda found: _other_digit(found, source), source),
    "a digit more": lambda gold, source: _replaced_once(
        gold, r"(?<![\d.])[1-9](?=\d*)", lambda found: found[0] + source.choice("123456789"), source
    ),
    "a sign": lambda gold, source: _replaced_once(
        gold, r"(?<=[\w)}])[-+](?=[\w\\(])", lambda found: "-" if found[0] == "+" else "+", source
    ),
    "minus": lambda gold, source: f"-{gold}" if _is_number(gold) and float(gold) > 0 else None,
    "an exponent": lambda gold, source: _replaced_once(
        gold, r"(?<=\^)\{?\d", lambda found: found[0][:-1] + _other_digit(re.match(r"\d", found[0][-1]), source), source  # type: ignore[arg-type]
    ),
    "a letter": lambda gold, source: _replaced_once(gold, _LETTER, lambda found: _letter(found, source), source),
    "a letter more": lambda gold, source: gold + source.choice(["x", "y", "ab", r"\alpha", r"\pi", "i"])
    if _is_number(gold) and float(gold) else None,
    "squared": lambda gold, source: f"{gold}^2" if re.fullmatch(r"[2-9]|\d{2,}", gold) else None,
    "a factorial": lambda gold, source: f"{gold}!" if re.fullmatch(r"[3-9]|\d{2,}", gold) else None,
    "a word": lambda gold, source: gold + source.choice(
        [r"\text{ million}", r"\text{ thirds}", " is wrong", " squared", r"\text{ dozen}", r"\text{ or more}"]
    ) if _is_number(gold) and float(gold) else None,
    "another unit": lambda gold, source: rf"{gold} \times 10^{{{source.randint(1, 9)}}}"
    if _is_number(gold) and float(gold) else None,
    "a coefficient": lambda gold, source: f"{source.randint(2, 9)}x = {gold}"
    if _is_value(gold) and gold != "0" else None,
    "a base": lambda gold, source: f"{gold}_{{{source.randint(11, 16)}}}" if re.fullmatch(r"[1-9]\d*", gold) else None,
    "a root": lambda gold, source: rf"\sqrt{{{gold}}}" if re.fullmatch(r"[2-9]|\d{2,}", gold) else None,
    "upside down": lambda gold, source: rf"{found[1]}\frac{{{found[3]}}}{{{found[2]}}}"
    if (found := _FRACTION.fullmatch(gold)) and found[2] != found[3] and int(found[2]) else None,
    "a bracket": lambda gold, source: _replaced_once(
        gold, r"[(\[](?=[^()\[\]]*,[^()\[\]]*[)\]])", lambda found: "[" if found[0] == "(" else "(", source
    ) if not gold.startswith(r"\begin") else None,
    "a function": lambda gold, source: _replaced_once(
        gold, r"\\(?:sin|cos|tan)", lambda found: {"s": r"\cos", "c": r"\tan", "t": r"\sin"}[found[0][1]], source
    ),
    "one part more": lambda gold, source: f"{gold}, {source.randint(1000, 9999)}" if _is_value(gold) else None,
    "or another": lambda gold, source: rf"{gold} \text{{ or }} {source.randint(1000, 9999)}"
    if _is_value(gold) else None,
    "percent of percent": lambda gold, source: f"{int(gold) * 100}\\%" if re.fullmatch(r"[2-9]|\d{2,}", gold) else None,
}  # fmt: skip
