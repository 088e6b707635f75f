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
    quotient,
    signed,
    without_degrees,
)
from prerlkit.verify.mathematics.names import (
    CALLED,
    FUNCTIONS,
    GREEK,
    INVERSE,
    MARKS,
    NO_FACTORS,
    RAW,
    SAME,
    STYLES,
    TRIGONOMETRIC,
    command,
)
from prerlkit.verify.mathematics.numerals import numeral
from prerlkit.verify.mathematics.scanner import CLOSING, COMMAND, WORD, Scanner

_DEEPEST = 40  # brackets in brackets: more are no answer, and Python's stack is not endless
_LONGEST = 4_000  # characters
_RADIANS = quotient(Symbol("pi"), Number(Fraction(180)))


@lru_cache(maxsize=4096)
def read(text: str) -> Formula:
    """Return the formula that a text spells.

    Raises:
        Unreadable: it spells none, or one that is longer or deeper than any answer.
    """
    if len(text) > _LONGEST:
        raise Unreadable("too long")
    reader = _FormulaReader(text)
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


class _FormulaReader(Scanner):
    """A method for each rule of the grammar, from the loosest binding to the tightest."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth, self._bars = 0, 0

    def sum(self) -> Formula:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too deep")
        terms = [self._product()]
        while sign := self.take("+", "-"):
            terms.append(signed(sign, self._product()))
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _product(self) -> Formula:
        if sign := self.take("+", "-"):
            return signed(sign, self._product())
        factors = [self._power()]
        while True:
            if self.take(r"\cdot", r"\times", r"\ast", r"\star", "*"):
                factors.append(self._operand())
            elif self.take("/", r"\div"):
                factors.append(Power(self._operand(), Number(Fraction(-1))))
            elif self._starts_factor():
                factors.append(self._power())
            else:
                return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def _operand(self) -> Formula:
        """A factor after an operator; it may have a sign: `3*-2`."""
        if sign := self.take("-", "+"):
            return signed(sign, self._operand())
        return self._power()

    def _starts_factor(self) -> bool:
        """Whether a factor follows without an operator. `x 2` is no product, but `5!2` and `(x)2` are."""
        rest = self.rest()
        if rest[:1].isdigit():
            return self.last in ("!", ")")
        if not rest or rest[0] in ".+-*/^_!,;:=<>)]}&%'~":
            return False
        if rest[0] == "|":
            return self._bars == 0
        if rest[0] == "\\":
            name = COMMAND.match(rest)
            return bool(name and (known := command(name[1])) and known not in NO_FACTORS)
        return rest[0].isalpha() or rest[0] in "([{"

    def _power(self) -> Formula:
        base = self._atom()
        while True:
            if self.take("!!"):
                base = Call("double_factorial", (base,))
            elif self.take("!"):
                base = Call("factorial", (base,))
            elif self.take(r"^\circ", r"^{\circ}", r"\degree", r"\circ"):
                base = Call("degree", (base,))
            elif self.take("**", "^"):
                base = Power(base, self._exponent())
            else:
                return base

    def _exponent(self) -> Formula:
        """A braced group, or one sign, number, letter or command; a further power belongs to it."""
        if sign := self.take("-", "+"):
            return signed(sign, self._exponent())
        atom = self._atom()
        return Power(atom, self._exponent()) if self.take("**", "^") else atom

    def _atom(self) -> Formula:
        rest = self.rest()
        if found := numeral(rest):
            self.skip(len(rest) - found.length)
            return Number(found.value)
        for opening in CLOSING:
            if self.take(opening):
                return self._closed(CLOSING[opening])
        if self.take("|"):
            self._bars += 1
            inside = self.sum()
            if not self.take("|"):
                raise Unreadable("a bar is not closed")
            self._bars -= 1
            return Call("abs", (inside,))
        if found_command := COMMAND.match(rest):
            return self._command(found_command[1])
        if word := WORD.match(rest):
            return self._word(word[0])
        raise Unreadable(f"no formula: {rest[:40]}")

    def _closed(self, closing: str) -> Formula:
        bars, self._bars = self._bars, 0
        inside = self.sum()
        if not self.take(closing):
            raise Unreadable(f"{closing} is missing")
        self._bars = bars
        return inside

    def _word(self, word: str) -> Formula:
        """Letters without a backslash: π and functions by their names, and otherwise one symbol a letter."""
        if word == "pi":
            self.take("pi")
            return Symbol("pi")
        for name in RAW:
            if word.startswith(name):
                self.take(name)
                if name in FUNCTIONS:
                    return self._function(name)
                return self._raw_call(name)
        self.take(word[0])
        return self._symbol(word[0])

    def _raw_call(self, name: str) -> Formula:
        opening = self.take("(", "\\{")
        if not opening:
            raise Unreadable(f"{name} needs brackets")
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        if not self.take(CLOSING[opening]):
            raise Unreadable("a bracket is missing")
        if name in ("sqrt", "cbrt") and len(arguments) == 1:
            return Call("root", (arguments[0], Number(Fraction(2 if name == "sqrt" else 3))))
        return Call({"binom": "binomial", "Gamma": "gamma"}.get(name, name), tuple(arguments))

    def _symbol(self, name: str) -> Formula:
        """A name with its index and primes."""
        if self.take("_"):
            name += "_" + re.sub(r"[\s{}\\]", "", self.group())
        while self.take("'", r"^\prime", r"^{\prime}"):
            name += "'"
        return Symbol(name)

    def _argument(self) -> Formula:
        r"""An argument of a command: in braces, one digit, one letter or one command, as in `\frac\pi2`."""
        rest = self.rest()
        if rest[:1].isdigit():
            self.take(rest[0])
            return Number(Fraction(int(rest[0])))
        if rest[:1].isalpha():
            self.take(rest[0])
            return Symbol(rest[0])
        return self._closed("}") if self.take("{") else self._atom()

    def _command(self, written: str) -> Formula:
        name = command(written)
        if not name:
            raise Unreadable(f"unknown: {written}")
        self.take("\\" + name)
        if name in STYLES:
            return self._styled()
        if name in FUNCTIONS:
            return self._function(name)
        if name in CALLED:
            return self._raw_call(name)
        if name in MARKS:
            return self._symbol(f"{name} " + re.sub(r"[\s{}\\]", "", self.group()))
        match name:
            case "frac":
                return quotient(self._argument(), self._argument())
            case "binom":
                return Call("binomial", (self._argument(), self._argument()))
            case "sqrt":
                index = self._closed("]") if self.take("[") else Number(Fraction(2))
                return Call("root", (self._argument(), index))
            case "lfloor" | "lceil":
                inside = self._closed("\\r" + name[1:])
                return Call("floor" if name == "lfloor" else "ceil", (inside,))
            case "infty":
                return Symbol("oo")
            case "pi":
                return Symbol("pi")
            case "Gamma" if self.at("("):
                return Call("gamma", (self._atom(),))
        if name in GREEK or name in SAME:
            return self._symbol("\\" + SAME.get(name, name))
        raise Unreadable(f"out of place: {name}")

    def _styled(self) -> Formula:
        """A letter, function or word in another typeface; a word is a symbol."""
        text = re.sub(r"\s+", " ", self.group().replace("~", " ").replace("\\", " ")).strip()
        if text in FUNCTIONS or text in CALLED:
            return self._function(text) if text in FUNCTIONS else self._raw_call(text)
        if numeral(text):
            return read(text)
        if not text:
            raise Unreadable("empty text")
        return self._symbol(text if len(text) == 1 and text.isalpha() else f"text {text}")

    def _function(self, name: str) -> Formula:
        """A function, its power (`\\sin^2 x`), its base (`\\log_2 x`), and its argument with or without brackets."""
        base: Formula | None = None
        power: Formula | None = None
        for _ in range(2):
            if name in ("log", "lg", "ln") and base is None and self.take("_"):
                base = self._argument()
            elif power is None and self.take("**", "^"):
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
            if self.take(opening):
                return self._closed(CLOSING[opening])
        if sign := self.take("-", "+"):
            return signed(sign, self._function_argument())
        factors = [self._power()]
        while self._starts_factor() and not self._starts_function() and not self.at("(", "["):
            factors.append(self._power())
        return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def _starts_function(self) -> bool:
        found = re.match(r"\\?([A-Za-z]+)", self.rest())
        return bool(found and (command(found[1]) in FUNCTIONS or found[1].startswith(tuple(FUNCTIONS))))
