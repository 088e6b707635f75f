"""Whether an answer means the same as the gold answer. The gold answer says how both are read.

Each way of reading is asked in turn, the most particular first, and the first that knows the gold answer's kind
decides. Only what no way can read is left to computer algebra.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from prerlkit.verify.mathematics import literals
from prerlkit.verify.mathematics.compound import as_compound, as_remainder
from prerlkit.verify.mathematics.exact import NotExact, TooLarge, Undefined, fraction
from prerlkit.verify.mathematics.formula import Formula, Number, Product, variables
from prerlkit.verify.mathematics.grammar import readable
from prerlkit.verify.mathematics.labels import is_label, numbered
from prerlkit.verify.mathematics.lists import Verdict, as_list, as_matrix, as_tuple, bracketed
from prerlkit.verify.mathematics.normal import compact, normal, plain, split_top
from prerlkit.verify.mathematics.quantity import Quantity, quantity
from prerlkit.verify.mathematics.relations import as_relation, by_names, is_name, relation
from prerlkit.verify.mathematics.sets import is_set, real_set, same_sets
from prerlkit.verify.mathematics.sums import finite
from prerlkit.verify.mathematics.units import same_kind, same_label, unit_of
from prerlkit.verify.mathematics.value import equal_values, within
from prerlkit.verify.mathematics.words import number_of_words

Symbolic = Callable[[str, str], bool | None]

_INTEGER = re.compile(r"-?\d{1,18}")
_SHARE = re.compile(
    r"(?:of (?!(?:x|y)\b)[a-z ]{2,}|chance|probability|likelihood|increase|decrease|profit|loss|gain|discount|off"
    r"|interest|rate|growth|markup|tax|tip|full|empty|complete|per [a-z]+|a year|annually)?",
    re.IGNORECASE,
)
"""What may follow a percent sign: nothing that changes the number."""
_WORKED_OUT = re.compile(r"\\(?:sum|prod|int|lim)(?![a-z])")
_COLON = re.compile(r"([A-Za-z][A-Za-z ']{2,50}):\s*")
_ANSWER = re.compile(r"(?:the |my )?(?:final )?answers?(?: is| are)?\s*[:=]?\s*", re.IGNORECASE)
_NUMBERED = re.compile(r"([A-Za-z]+\.?)\s*(?=\d)")
_MOD = re.compile(
    r"(?:(?P<name>.+?)\s*\\equiv\s*)?(?P<rest>.+?)\s*\(?\s*\\?[pb]?mod\s*\{?\s*(?P<mod>[^{}()]+?)\s*\}?\s*\)?",
    re.DOTALL,
)


def same(gold: str, answer: str, tolerance: float, symbolic: Symbolic) -> bool | None:
    """Return whether `answer` means `gold`.

    Args:
        tolerance: by how much numbers may differ, relative to the gold one (absolute where that is 0).
        symbolic: the last resort for two formulas; None when it can't read the gold one.

    Returns:
        None when the gold answer can't be read.
    """
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer) and not tolerance:
        return int(gold) == int(answer)
    gold, answer = normal(gold), normal(answer)
    if not compact(gold):
        return None
    if compact(plain(gold)).lower() != compact(plain(answer)).lower():
        gold, answer = _in_digits(gold), _in_digits(answer)
    known = _AnswerComparison(tolerance, symbolic).same(gold, _unlabelled(answer))
    if known is None and _AnswerComparison(tolerance, symbolic, by_text=False).same(gold, gold):
        return False  # the gold answer can be read, so that it is the answer that can't
    return known


def _in_digits(text: str) -> str:
    """A number in digits that is written as words: `twenty-one`, `two thirds`, `five apples`."""
    words = plain(text) if text[-1:].isalpha() or text[-1:] == "}" else ""
    for count in range(words.count(" ") + 1 if words[:1].isalpha() else 0):
        split = words.rsplit(" ", count)
        number, rest = number_of_words(split[0]), " ".join(split[1:])
        if number is not None and (not rest or unit_of(rest)):
            return f"{number}" + (rf"\text{{ {rest}}}" if rest else "")
    return text


def _unlabelled(answer: str) -> str:
    """Without the label before an answer, `Answer: 42` or `Room 5`, and with a minus for the word."""
    text = re.sub(r"^\\text[a-z]*\s*\{([^{}]*)\}", r"\1 ", answer)
    answer = _behind_label(text) or answer
    answer = re.sub(r"^(?:negative|minus)\s+(?=[\d\\])", "-", answer).removeprefix("=").strip()
    while (inner := re.fullmatch(r"\((.*)\)", answer, re.DOTALL)) and _balanced(inner[1]):
        if len(split_top(inner[1], ",;")) > 1:
            break
        answer = inner[1].strip()
    return answer


def _behind_label(text: str) -> str:
    """What stands behind `Total cost:`, `The answer is` or `Room`; "" where nothing of the kind comes first."""
    if (colon := _COLON.match(text)) and is_label(colon[1]):
        return normal(text[colon.end() :])
    if (said := _ANSWER.match(text)) or ((said := _NUMBERED.match(text)) and numbered(said[1])):
        return normal(text[said.end() :])
    return ""


def _balanced(text: str) -> bool:
    """Whether no bracket closes that isn't opened before."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0


class _AnswerComparison:
    """The ways of reading, with what all of them need."""

    def __init__(self, tolerance: float, symbolic: Symbolic, by_text: bool = True) -> None:
        self._tolerance, self._symbolic = tolerance, symbolic
        self._by_text = by_text  # one spelling is one answer, read or not

    def same(self, gold: str, answer: str) -> bool | None:
        if not answer:
            return None if not gold else False
        if self._by_text and (compact(gold) == compact(answer) or compact(plain(gold)) == compact(plain(answer))):
            return True
        found = relation(answer)
        if found and found.signs == ("=",) and is_name(found.sides[0]) and not relation(gold) and found.sides[1]:
            return self.same(gold, by_names(*found.sides))  # x = 5 for 5
        for way in (self._option, self._literal, self._congruence, self._matrix, self._set, self._list, self._tuple):
            if (known := way(gold, answer)) is not ...:
                return known
        if (known := as_relation(gold, answer, self.same)) is not ...:
            return known
        return self._value(gold, answer)

    def _option(self, gold: str, answer: str) -> Verdict:
        if option := literals.option_text(gold):
            letter, text = option
            if (other := literals.option_text(answer)) is not None:
                return letter == other[0] and self.same(normal(text), normal(other[1]))
            return literals.as_option(letter, answer) or self.same(normal(text), answer)
        known = literals.as_option(gold, answer)
        return ... if known is None else known

    def _literal(self, gold: str, answer: str) -> Verdict:
        for way in (
            literals.as_date,
            literals.as_clock,
            literals.as_ratio,
            literals.as_based,
            as_compound,
            as_remainder,
        ):
            if (known := way(gold, answer)) is not None:
                return known
        if real_set(gold) is not None and real_set(answer) is not None:
            return ...  # "all real numbers"
        known = literals.as_words(gold, answer)
        return ... if known is None else known

    def _congruence(self, gold: str, answer: str) -> Verdict:
        """`x \\equiv 3 \\pmod 7`: the same modulus, and residues that are the same by it."""
        left, right = _MOD.fullmatch(plain(gold)), _MOD.fullmatch(plain(answer))
        if not left:
            return self._residue(gold, right) if right else ...
        if not right or self.same(left["mod"], right["mod"]) is not True:
            return False
        if left["name"] and right["name"] and compact(left["name"]) != compact(right["name"]):
            return False
        numbers = [_exactly(readable(match[key])) for match, key in ((left, "rest"), (right, "rest"), (left, "mod"))]
        a, b, modulus = numbers
        if a is not None and b is not None and modulus:
            return (a - b) % modulus == 0
        return self.same(left["rest"], right["rest"])

    def _residue(self, gold: str, congruence: re.Match[str]) -> bool | None:
        """A number for which `x \\equiv 2 \\pmod 5` is given, or `17 \\bmod 5`, which is a remainder."""
        modulus = _exactly(readable(congruence["mod"]))
        *heads, last = re.split(r"\\equiv(?![a-z])", f"{congruence['name'] or ''}\\equiv {congruence['rest']}")
        rest = _exactly(readable(last))
        if not modulus or modulus < 0 or (rest is None and heads == [""]):
            return False
        for head in filter(None, map(str.strip, heads)):
            number = _exactly(readable(head))
            if not is_name(head) and (number is None or rest is None or (number - rest) % modulus):
                return False
        if rest is None or heads != [""]:
            return self.same(gold, last.strip())
        # Of a sum only the last term may be meant.
        return not re.search(r"(?<=[^\s{(])\s*[+-]", last.strip()) and self.same(gold, str(rest % modulus))

    def _matrix(self, gold: str, answer: str) -> Verdict:
        return as_matrix(gold, answer, self.same)

    def _set(self, gold: str, answer: str) -> Verdict:
        """Sets of reals, where one of the two can be nothing else."""
        if not is_set(gold) and not (is_set(answer) and bracketed(gold)):
            return ...
        left, right = real_set(gold), real_set(answer)
        if left is not None and right is not None:
            equal = same_sets(left, right, self.same)
            return equal or (... if relation(gold) and relation(answer) else False)  # y < x for x > y
        points = [piece.low for piece in left.pieces if piece.low == piece.high] if left else []
        if left and points and len(points) == len(left.pieces):  # as a list: 1, -1 for {1, -1}
            known = as_list(", ".join(points), answer, self.same)
            return self.same(points[0], answer) if known is ... else known
        return ... if left is None or relation(gold) else False

    def _list(self, gold: str, answer: str) -> Verdict:
        return as_list(gold, answer, self.same)

    def _tuple(self, gold: str, answer: str) -> Verdict:
        return as_tuple(gold, answer, self.same)

    def _value(self, gold: str, answer: str) -> bool | None:
        """Two formulas, with their units."""
        left, right = quantity(gold), quantity(answer)
        formula = readable(left.value)
        if formula is None:
            return None if left.label else self._symbolic(gold, answer)
        other = readable(right.value)
        if right.label and not left.label and variables(formula):  # 12nm for 12mn: letters of a product
            other, right = readable(answer), Quantity(answer, Fraction(1), "", None)
        if other is None and not variables(formula) and _WORKED_OUT.search(answer):
            total = finite(answer)
            return self._symbolic(gold, answer) is True if total is None else self._equal(formula, Number(total))
        if other is None or variables(other) - variables(formula):
            return False  # a variable that the gold answer lacks: x/x is no way to write 1
        factor = self._factor(left, right, formula)
        return any(self._equal(_times(formula, left.scale), _times(other, right.scale * one)) for one in factor)

    def _factor(self, gold: Quantity, answer: Quantity, value: Formula) -> list[Fraction]:
        """What the answer's number is to be multiplied by to be in the gold answer's unit; none where none is."""
        one = Fraction(1)
        if gold.label == answer.label or not answer.label:
            return [one, 100 * one] if gold.label.startswith("%") and not answer.label else [one]
        if answer.label.startswith("%"):
            if not _SHARE.fullmatch(answer.label[1:].strip()):
                return []
            if gold.label:
                return [one] if gold.label.startswith("%") and "" in (gold.label[1:], answer.label[1:]) else []
            number = _exactly(value)
            # A gold answer of more than 1 leaves out the percent sign; one of up to 1 is the value itself.
            return [one] if number is not None and abs(number) > 1 else [one / 100]
        if not gold.label:
            return [one] if answer.unit is not None else []
        if gold.unit and answer.unit:
            if not same_kind(gold.label, answer.label):
                return []
            return [answer.unit.scale / gold.unit.scale] if gold.unit.dimensions == answer.unit.dimensions else []
        return [one] if not (gold.unit or answer.unit) and same_label(gold.label, answer.label) else []

    def _equal(self, gold: Formula, answer: Formula) -> bool:
        return equal_values(gold, answer) or (self._tolerance > 0 and within(gold, answer, self._tolerance))


def _times(formula: Formula, scale: Fraction) -> Formula:
    return formula if scale == 1 else Product((Number(scale), formula))


def _exactly(formula: Formula | None) -> Fraction | None:
    """The number that a formula is, if it is a rational one."""
    try:
        return None if formula is None or variables(formula) else fraction(formula)
    except (NotExact, TooLarge, Undefined):
        return None
