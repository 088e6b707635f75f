"""Reads a formula, in LaTeX or as a keyboard writes it, into a tree, and loses nothing on the way.

What is not in the grammar is `Unreadable`: words, sums over an index, integrals. The text comes from `normal`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from prerlkit.verify.mathematics.formula import (
    ONE,
    Call,
    Formula,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    Unreadable,
    negative,
    quotient,
    without_degrees,
)
from prerlkit.verify.mathematics.names import (
    FUNCTIONS,
    GREEK,
    INVERSE,
    MARKS,
    NO_FACTORS,
    SAME,
    STYLES,
    TRIGONOMETRIC,
    command,
)
from prerlkit.verify.mathematics.numerals import Numeral, numeral

_DEEPEST = 40  # brackets in brackets: more are no answer, and Python's stack is not endless
_LONGEST = 4_000  # characters
_RADIANS = quotient(Symbol("pi"), Number(Fraction(180)))
_WORD = re.compile(r"[A-Za-z]+")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_RAW = sorted([*FUNCTIONS, "sqrt", "abs", "floor", "ceil", "factorial", "cbrt", "Gamma", "binom"], key=len)[::-1]
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}


@lru_cache(maxsize=4096)
def read(text: str) -> Formula:
    """Return the formula that a text spells.

    Raises:
        Unreadable: it spells none, or one that is longer or deeper than any answer.
    """
    if len(text) > _LONGEST:
        raise Unreadable("too long")
    reader = _Reader(text)
    formula = reader.sum()
    if reader.rest():
        raise Unreadable(f"left over: {reader.rest()[:40]}")
    return without_degrees(formula, ONE)


def readable(text: str) -> Formula | None:
    """Return the formula, or None where there is none."""
    try:
        return read(text)
    except Unreadable:
        return None


class _Reader:
    """A position in a text, and a method for each rule of the grammar, from the loosest binding to the tightest."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth, self._bars = text, 0, 0, 0

    def rest(self) -> str:
        return self._text[self._at :].lstrip()

    def _next(self, *choices: str) -> str | None:
        """Take one of the choices if it comes next. A command must end where its name ends, or before a letter."""
        rest = self._text[self._at :]
        skipped = len(rest) - len(rest := rest.lstrip())
        for choice in choices:
            if rest.startswith(choice):
                self._at += skipped + len(choice)
                return choice
        return None

    def _peek(self, *choices: str) -> bool:
        return self.rest().startswith(choices)

    def sum(self) -> Formula:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too deep")
        terms = [self._product()]
        while sign := self._next("+", "-"):
            terms.append(_signed(sign, self._product()))
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _product(self) -> Formula:
        if sign := self._next("+", "-"):
            return _signed(sign, self._product())
        factors = [self._power()]
        while True:
            if self._next(r"\cdot", r"\times", r"\ast", r"\star", "*"):
                factors.append(self._operand())
            elif self._next("/", r"\div"):
                factors.append(Power(self._operand(), Number(Fraction(-1))))
            elif self._starts_factor():
                factors.append(self._power())
            else:
                return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def _operand(self) -> Formula:
        """A factor after an operator; it may have a sign: `3*-2`."""
        if sign := self._next("-", "+"):
            return _signed(sign, self._operand())
        return self._power()

    def _starts_factor(self) -> bool:
        """Whether a factor follows without an operator. A digit doesn't: `x 2` is no product."""
        rest = self.rest()
        if not rest or rest[0] in "0123456789.+-*/^_!,;:=<>)]}&%'~":
            return False
        if rest[0] == "|":
            return self._bars == 0
        if rest[0] == "\\":
            name = _COMMAND.match(rest)
            return bool(name and (known := command(name[1])) and known not in NO_FACTORS)
        return rest[0].isalpha() or rest[0] in "([{"

    def _power(self) -> Formula:
        base = self._atom()
        while True:
            if self._next("!!"):
                base = Call("double_factorial", (base,))
            elif self._next("!"):
                base = Call("factorial", (base,))
            elif self._next(r"^\circ", r"^{\circ}", r"\degree", r"\circ"):
                base = Call("degree", (base,))
            elif self._next("**", "^"):
                base = Power(base, self._exponent())
            else:
                return base

    def _exponent(self) -> Formula:
        """A braced group, or one sign, number, letter or command; a further power belongs to it."""
        if sign := self._next("-", "+"):
            return _signed(sign, self._exponent())
        atom = self._atom()
        return Power(atom, self._exponent()) if self._next("**", "^") else atom

    def _atom(self) -> Formula:
        rest = self.rest()
        if found := numeral(rest):
            return self._number(rest, found)
        for opening in _CLOSING:
            if self._next(opening):
                return self._closed(_CLOSING[opening])
        if self._next("|"):
            self._bars += 1
            inside = self.sum()
            if not self._next("|"):
                raise Unreadable("a bar is not closed")
            self._bars -= 1
            return Call("abs", (inside,))
        if found_command := _COMMAND.match(rest):
            return self._command(found_command[1])
        if word := _WORD.match(rest):
            return self._word(word[0])
        raise Unreadable(f"no formula: {rest[:40]}")

    def _closed(self, closing: str) -> Formula:
        bars, self._bars = self._bars, 0
        inside = self.sum()
        if not self._next(closing):
            raise Unreadable(f"{closing} is missing")
        self._bars = bars
        return inside

    def _number(self, rest: str, found: Numeral) -> Formula:
        """A number; with a proper fraction right after it a mixed number: `6\\frac{1}{6}`, `3 1/2`."""
        self._at += len(self._text[self._at :]) - len(rest) + found.length
        if not found.whole:
            return Number(found.value)
        mixed = re.match(r"\s*\\frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))|\s+(\d+)\s*/\s*(\d+)", self._text[self._at :])
        if mixed and not re.match(r"\s*[\^_!]", self._text[self._at + mixed.end() :]):
            above, below = (int(digits) for digits in mixed.groups() if digits)
            if above < below:
                self._at += mixed.end()
                return Number(found.value + Fraction(above, below))
        return Number(found.value)

    def _word(self, word: str) -> Formula:
        """Letters without a backslash: π and functions by their names, and otherwise one symbol a letter."""
        if word == "pi":
            self._next("pi")
            return Symbol("pi")
        for name in _RAW:
            if word.startswith(name):
                self._next(name)
                if name in FUNCTIONS:
                    return self._function(name)
                return self._raw_call(name)
        self._next(word[0])
        return self._symbol(word[0])

    def _raw_call(self, name: str) -> Formula:
        if not self._next("("):
            raise Unreadable(f"{name} needs brackets")
        arguments = [self.sum()]
        while self._next(","):
            arguments.append(self.sum())
        if not self._next(")"):
            raise Unreadable(") is missing")
        if name in ("sqrt", "cbrt") and len(arguments) == 1:
            return Call("root", (arguments[0], Number(Fraction(2 if name == "sqrt" else 3))))
        return Call({"binom": "binomial", "Gamma": "gamma"}.get(name, name), tuple(arguments))

    def _symbol(self, name: str) -> Formula:
        """A name with its index and primes."""
        if self._next("_"):
            name += "_" + re.sub(r"[\s{}\\]", "", self._group_text())
        while self._next("'", r"^\prime", r"^{\prime}"):
            name += "'"
        return Symbol(name)

    def _group_text(self) -> str:
        """The text of one argument: in braces, or one character or command."""
        rest = self.rest()
        if not rest:
            raise Unreadable("an argument is missing")
        self._at += len(self._text[self._at :]) - len(rest)
        if rest[0] != "{":
            one = _COMMAND.match(rest)
            self._at += len(one[0]) if one else 1
            return one[0] if one else rest[0]
        depth = 0
        for end, character in enumerate(rest):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                self._at += end + 1
                return rest[1:end]
        raise Unreadable("} is missing")

    def _argument(self) -> Formula:
        r"""An argument of a command: in braces, one digit, one letter or one command, as in `\frac\pi2`."""
        rest = self.rest()
        if rest[:1].isdigit():
            self._at += len(self._text[self._at :]) - len(rest) + 1
            return Number(Fraction(int(rest[0])))
        if rest[:1].isalpha():
            self._next(rest[0])
            return Symbol(rest[0])
        return self._closed("}") if self._next("{") else self._atom()

    def _command(self, written: str) -> Formula:
        name = command(written)
        if not name:
            raise Unreadable(f"unknown: {written}")
        self._next("\\" + name)
        if name in STYLES:
            return self._styled()
        if name in FUNCTIONS:
            return self._function(name)
        if name in MARKS:
            return self._symbol(f"{name} " + re.sub(r"[\s{}\\]", "", self._group_text()))
        match name:
            case "frac":
                return quotient(self._argument(), self._argument())
            case "binom":
                return Call("binomial", (self._argument(), self._argument()))
            case "sqrt":
                index = self._closed("]") if self._next("[") else Number(Fraction(2))
                return Call("root", (self._argument(), index))
            case "lfloor" | "lceil":
                inside = self._closed("\\r" + name[1:])
                return Call("floor" if name == "lfloor" else "ceil", (inside,))
            case "infty":
                return Symbol("oo")
            case "pi":
                return Symbol("pi")
            case "Gamma" if self._peek("("):
                return Call("gamma", (self._atom(),))
        if name in GREEK or name in SAME:
            return self._symbol("\\" + SAME.get(name, name))
        raise Unreadable(f"out of place: {name}")

    def _styled(self) -> Formula:
        """A letter, function or word in another typeface; a word is a symbol."""
        text = re.sub(r"\s+", " ", self._group_text().replace("~", " ").replace("\\", " ")).strip()
        if text in FUNCTIONS:
            return self._function(text)
        if len(text) == 1 and text.isalpha():
            return self._symbol(text)
        if numeral(text):
            return read(text)
        if not text:
            raise Unreadable("empty text")
        return self._symbol(f"text {text}")

    def _function(self, name: str) -> Formula:
        """A function, its power (`\\sin^2 x`), its base (`\\log_2 x`), and its argument with or without brackets."""
        base: Formula | None = None
        power: Formula | None = None
        for _ in range(2):
            if name in ("log", "lg", "ln") and base is None and self._next("_"):
                base = self._argument()
            elif power is None and self._next("**", "^"):
                power = self._exponent()
        argument = self._function_argument()
        if name in TRIGONOMETRIC:
            argument = without_degrees(argument, _RADIANS)
            if power == Number(Fraction(-1)):
                return Call("a" + name, (argument,))
        if name == "exp":
            called: Formula = Power(Symbol("e"), argument)
        elif name in ("log", "ln", "lg"):
            base = Number(Fraction(10)) if name == "lg" else base
            called = Call("log", (argument,) if base is None else (argument, base))
        else:
            called = Call(INVERSE.get(name, name), (argument,))
        return called if power is None else Power(called, power)

    def _function_argument(self) -> Formula:
        r"""In brackets, or the factors up to the next operator or function: `\sin 2x \cos x` is sin(2x)·cos(x)."""
        for opening in ("(", "[", "{"):
            if self._next(opening):
                return self._closed(_CLOSING[opening])
        if sign := self._next("-", "+"):
            return _signed(sign, self._function_argument())
        factors = [self._power()]
        while self._starts_factor() and not self._starts_function() and not self._peek("(", "["):
            factors.append(self._power())
        return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def _starts_function(self) -> bool:
        found = re.match(r"\\?([A-Za-z]+)", self.rest())
        return bool(found and (command(found[1]) in FUNCTIONS or found[1].startswith(tuple(FUNCTIONS))))


def _signed(sign: str, formula: Formula) -> Formula:
    return negative(formula) if sign == "-" else formula
