"""Separates a value from what it counts: units, currencies, percent signs and number words around it."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from prerlkit.verify.mathematics.normal import plain, split_top
from prerlkit.verify.mathematics.units import FRACTIONS, NUMBERS, Unit, unit_of

_STYLE = r"\\(?:text[a-z]*|mbox|hbox|mathrm|mathbf|mathit|mathsf|operatorname|rm)"
_WORDS = r"\{(?:[^{}\d]|\^\s*(?:-?\d|\{-?\d\}))*\}"  # m s^{-1}
_TAIL = re.compile(
    rf"(?P<value>.*?)\s*(?P<tail>{_STYLE}\s*{_WORDS}"
    rf"(?:\s|{_STYLE}\s*{_WORDS}|\^\s*\{{?-?\d\}}?|/|\\cdot|\*|\.|-)*)",
    re.DOTALL,
)
_RAW = re.compile(
    r"(?P<value>(?:.*[\d})!]|\\pi|.*\\pi))(?P<space>\s*)"
    r"(?P<tail>[A-Za-z][A-Za-z.]*(?:[ /-]+[A-Za-z.]+|\s*\^\s*\{?\d\}?)*)\.?",
    re.DOTALL,
)
_PERCENT = re.compile(r"(?P<value>.*?)\s*(?:\\?%|(?:percent(?:age)?|pct)\b\.?)\s*(?P<rest>.*)", re.DOTALL)
_DEGREES = re.compile(r"(?P<value>.*?)\s*\^\\circ\s*(?:\\?[a-z]*\s*\{?\s*(?P<scale>[CF])\s*\}?)?", re.DOTALL)
_MONEY = re.compile(
    r"(?P<sign>[+-]?)\s*(?:\\(?P<command>dollar|euro|pound|yen|rupee)\s*"
    r"|(?:\\text\s*\{)?\s*(?P<code>Rs\.?|RMB|CNY|USD|EUR|GBP|INR|JPY|US\\dollar)\s*\}?\s*)(?P<value>.+)",
    re.DOTALL,
)
_ANGLES = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)")


class Quantity(NamedTuple):
    """A value's text, and what it counts.

    Attributes:
        scale: what number words multiply it by: a million.
        label: the words, without number words; "" where there are none, "%" for percent.
        unit: what the label means; None where it is no known unit.
    """

    value: str
    scale: Fraction
    label: str
    unit: Unit | None


@lru_cache(maxsize=8192)
def quantity(text: str) -> Quantity:
    """Return the value in a normal text and what it counts. Words that aren't separate from the value stay in it."""
    if (money := _MONEY.fullmatch(text)) and len(split_top(re.sub(r"(?<=\d),(?=\d{3})", "", text))) == 1:
        inner = quantity(re.sub(r"\s*/\s*\\text\s*\{", r"\\text{ per ", money["value"].strip()))
        code = money["command"] or money["code"].strip(".").removesuffix("\\dollar") or "dollar"
        label = {"us": "dollar"}.get(code.lower(), code)
        if not inner.label:
            return Quantity(
                f"{money['sign']}{inner.value}", inner.scale, label, unit_of(label) or unit_of(label.lower())
            )
        if inner.label.startswith(("per ", "/", "a ", "an ")) and unit_of(f"{label} {inner.label}"):
            return inner._replace(label=f"{label} {inner.label}", unit=unit_of(f"{label} {inner.label}"))
        return Quantity(text, Fraction(1), "", None) if inner.unit != unit_of(label) else inner
    if behind := re.fullmatch(r"(.*\d)\s*\\(dollar|euro|pound|yen|rupee)", text):
        return Quantity(behind[1], Fraction(1), behind[2], unit_of(behind[2]))
    percent = _PERCENT.fullmatch(text)
    if percent and percent["value"].strip() and re.fullmatch(r"[^%\d]*", percent["rest"]):
        rest = plain(percent["rest"])
        return Quantity(_unwrapped(percent["value"]), Fraction(1), f"% {rest}".strip(), None)
    if (degrees := _DEGREES.fullmatch(text)) and degrees["value"].strip() and not _ANGLES.search(degrees["value"]):
        label = {"C": "celsius", "F": "fahrenheit"}.get(degrees["scale"] or "", "degree")
        return Quantity(degrees["value"].strip(), Fraction(1), label, unit_of(label))
    if (tail := _TAIL.fullmatch(text)) and tail["value"].strip() and tail["value"].strip()[-1] not in "+-*/^=":
        return _with_words(text, tail["value"], plain(re.sub(r"\^\s*\{(-?\d)\}", r"^\1", tail["tail"])))
    if raw := _RAW.fullmatch(text):
        known = unit_of(raw["tail"]) is not None or raw["tail"].split()[0].lower() in _NUMBER_WORDS
        # One letter right of a number is a variable; two letters may be one each, unless they are a known unit.
        if known and len(re.sub(r"[^A-Za-z]", "", raw["tail"])) > 1:
            return _with_words(text, raw["value"], raw["tail"])
    if symbol := re.fullmatch(r"(.*[\d}])\s*([元¢])", text):
        return Quantity(symbol[1], Fraction(1), symbol[2], unit_of(symbol[2]))
    return Quantity(text, Fraction(1), "", None)


_NUMBER_WORDS = NUMBERS.keys() | FRACTIONS.keys() | {f"{word}s" for word in [*NUMBERS, *FRACTIONS]}


def _with_words(text: str, value: str, words: str) -> Quantity:
    """The value with its words; number words come first: `5 million dollars`."""
    scale, rest = Fraction(1), words.replace("~", " ").strip()
    while first := re.match(r"[A-Za-z]+", rest):
        word = first[0].lower().removesuffix("s")
        if word in NUMBERS:
            scale *= NUMBERS[word]
        elif word in FRACTIONS and scale == 1:
            scale /= FRACTIONS[word]
        else:
            break
        rest = re.sub(r"^(?:of a|of an|an|a)\b", "", rest[first.end() :].strip(" ."))
    rest = rest.strip(" .")
    if bracketed := re.fullmatch(r"\(([^()]+)\)", rest):
        rest = bracketed[1]
    if not rest:
        return Quantity(_unwrapped(value), scale, "", None)
    return Quantity(_unwrapped(value), scale, rest, unit_of(rest))


def _unwrapped(value: str) -> str:
    """Without a separator or an opened text before the words."""
    return value.strip().rstrip("\\").strip()
