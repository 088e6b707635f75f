r"""Sets of real numbers, however they are written: intervals, unions, inequalities, `\{x \mid x \ge 0\}`, ℝ."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from prerlkit.verify.mathematics.normal import compact, plain, split_top
from prerlkit.verify.mathematics.relations import Same, is_name, relation
from prerlkit.verify.mathematics.value import ascending

_REALS = re.compile(r"\\R|(?:all|any|every)?(?:thesetof)?(?:all)?realnumbers?|allreals", re.IGNORECASE)
_EMPTY = re.compile(r"\\emptyset|\\\{\\\}|\{\}|(?:the)?empty(?:set)?|no(?:real)?solutions?|null(?:set)?", re.IGNORECASE)
_BUILDER = re.compile(r"\\\{\s*(?P<name>[^{}:|]+?)\s*(?:\\mid|\\vert|\||:)\s*(?P<rule>.+)\\\}", re.DOTALL)
_RAYS = re.compile(r"\\R(?:\^\{?[+-]\}?|_\{?(?:[+-]|>0|<0|\\ge0|\\le0)\}?)")
_EXCEPT = re.compile(r"(?:all\s+)?(?:real\s+numbers?|reals)\s+(?:except|other than|but)\s+(?:[a-z]\s*=)?\s*([^<>=]+)")
_OPPOSITE = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", "=": "=", r"\ne": r"\ne"}
_SET = re.compile(r"\\cup|\\R|\\mid|\\setminus|\\emptyset|\\infty|\\in(?![a-z])|[<>]|\\[lgn]e(?![a-z])|\\\{")
_MOST = 32  # pieces


class Piece(NamedTuple):
    """An interval, or a point where both ends are one text."""

    low: str
    low_in: bool
    high: str
    high_in: bool


class RealSet(NamedTuple):
    """Pieces in no order; the variable where the text names one."""

    variable: str | None
    pieces: tuple[Piece, ...]


_LINE = Piece(r"-\infty", False, r"\infty", False)


def real_set(text: str) -> RealSet | None:
    """Return the set of real numbers that a normal text describes; None where it describes none."""
    text = text.strip()
    if re.search(r"\\(?:pm|mp)(?![a-z])", text):
        return None
    if (member := relation(text)) and member.signs[0] == r"\in" and is_name(member.sides[0]):
        rest = text.partition(r"\in")[2].strip()
        inner = real_set(re.sub(r"^\\R\s*,\s*(?:and\s+)?", "", rest))  # x in R, x != 2
        return None if inner is None else RealSet(compact(member.sides[0]), inner.pieces)
    text = re.sub(r"^(?:all|every|any)\s+(?=[a-z]\s*(?:\\|[<>]))", "", plain(text))
    if _RAYS.fullmatch(compact(text)):
        closed = "ge" in text or "le" in text
        up = "+" in text or ">" in text or "ge" in text
        zero = Piece("0", closed, r"\infty", False) if up else Piece(r"-\infty", False, "0", closed)
        return RealSet(None, (zero,))
    if but := _EXCEPT.fullmatch(text):
        return RealSet(None, _holes(split_top(re.sub(r"\band\b", ",", but[1]))))
    tight = compact(plain(text))
    if _REALS.fullmatch(tight):
        return RealSet(None, (_LINE,))
    if _EMPTY.fullmatch(tight):
        return RealSet(None, ())
    if builder := _BUILDER.fullmatch(text):
        name = relation(builder["name"])
        variable = compact(name.sides[0] if name else builder["name"])
        inner = real_set(builder["rule"])
        return RealSet(None, inner.pieces) if inner and inner.variable == variable else None
    if (unequal := relation(text)) and unequal.signs == (r"\ne",):
        return _chain(text)
    for joint, combine in (
        (r"\\cup(?![a-z])|\\lor(?![a-z])|\\vee(?![a-z])|\bor\b", _union),
        (r"\band\b|\\land(?![a-z])|\\wedge(?![a-z])|,", _overlap),
    ):
        if len(parts := _split(joint, text)) > 1:
            sets = [real_set(part) for part in parts]
            known = [one for one in sets if one is not None]
            return combine(known) if len(known) == len(sets) <= _MOST else None
    if without := re.fullmatch(r"(.+?)\s*(?:\\setminus|-)\s*(\\\{.+\\\})", text, re.DOTALL):
        whole, points = real_set(without[1]), _points(without[2])
        return RealSet(None, _holes(points)) if whole == RealSet(None, (_LINE,)) and points else None
    if cut := re.fullmatch(r"\\R\s*(?:\\setminus|-)\s*([(\[].*[)\]])", text, re.DOTALL):
        inner = _interval(cut[1])
        return None if inner is None else RealSet(None, _outside(inner.pieces[0]))
    if points := _points(text):
        return RealSet(None, tuple(Piece(point, True, point, True) for point in points))
    return _interval(text) or _chain(text)


def is_set(text: str) -> bool:
    """Return whether a text can only be a set of reals: not a pair of brackets, which may be a point."""
    tight = compact(plain(text))
    return any((_SET.search(text), _EXCEPT.fullmatch(plain(text)), _REALS.fullmatch(tight), _EMPTY.fullmatch(tight)))


def same_sets(gold: RealSet, answer: RealSet, same: Same) -> bool:
    """Return whether two sets have the same pieces, with the same ends."""
    if gold.variable and answer.variable and not same(gold.variable, answer.variable):
        return False
    if len(gold.pieces) != len(answer.pieces):
        return False
    left = list(answer.pieces)
    for piece in gold.pieces:
        match = next((other for other in left if _same_piece(piece, other, same)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_piece(gold: Piece, answer: Piece, same: Same) -> bool:
    if (gold.low_in, gold.high_in) != (answer.low_in, answer.high_in):
        return False
    return same(gold.low, answer.low) is True and same(gold.high, answer.high) is True


def _split(joint: str, text: str) -> list[str]:
    """Cut where a joint stands outside of brackets."""
    marked = re.sub(joint, "\x00", text)
    return split_top(marked, "\x00")


def _union(sets: list[RealSet]) -> RealSet | None:
    names = {one.variable for one in sets}
    if len(names) != 1:
        return None
    return RealSet(names.pop(), tuple(piece for one in sets for piece in one.pieces))


def _overlap(sets: list[RealSet]) -> RealSet | None:
    """`x > 1 and x < 3`: a ray up and a ray down of one variable."""
    if len(sets) != 2 or sets[0].variable is None or sets[0].variable != sets[1].variable:
        return None
    if any(len(one.pieces) != 1 for one in sets):
        return None
    first, second = sets[0].pieces[0], sets[1].pieces[0]
    up, down = (first, second) if first.high == r"\infty" else (second, first)
    if up.high != r"\infty" or down.low != r"-\infty":
        return None
    return RealSet(sets[0].variable, (Piece(up.low, up.low_in, down.high, down.high_in),))


def _points(text: str) -> list[str]:
    r"""The elements of `\{1, 2\}`."""
    found = re.fullmatch(r"\\\{(.*)\\\}", text.strip(), re.DOTALL)
    return split_top(found[1]) if found and found[1].strip() and r"\}" not in found[1] else []


def _holes(points: list[str]) -> tuple[Piece, ...]:
    """The line without some points; more than one are taken in the order of the numbers."""
    ends = [r"-\infty", *ascending(points), r"\infty"]
    return tuple(Piece(low, False, high, False) for low, high in pairwise(ends))


def _outside(piece: Piece) -> tuple[Piece, ...]:
    """Return the parts of the real line that are outside of the interval."""
    below = Piece(r"-\infty", False, piece.low, not piece.low_in)
    above = Piece(piece.high, not piece.high_in, r"\infty", False)
    return tuple(one for one in (below, above) if one.low != one.high)


def _size(name: str, sign: str, limit: str) -> RealSet | None:
    r"""`|x| \le 2` and `|x| > 2`."""
    low, closed = f"-({limit})", sign in (r"\le", r"\ge")
    if sign in ("<", r"\le"):
        return RealSet(name, (Piece(low, closed, limit, closed),))
    if sign in (">", r"\ge"):
        return RealSet(name, (Piece(r"-\infty", False, low, closed), Piece(limit, closed, r"\infty", False)))
    return None


def _interval(text: str) -> RealSet | None:
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]" or not _one_bracket(text):
        return None
    ends = split_top(text[1:-1])
    if len(ends) != 2 or not all(ends):
        return None
    low, high = (re.sub(r"^\+\s*(?=\\infty)", "", end) for end in ends)
    return RealSet(None, (Piece(compact(low), text[0] == "[", compact(high), text[-1] == "]"),))


def _one_bracket(text: str) -> bool:
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and i < len(text) - 1:
            return False
    return depth == 0


def _chain(text: str) -> RealSet | None:
    r"""`1 < x \le 2`, `x \ge 0`, `x \ne 3`, `x \in [1, 2]`."""
    found = relation(text)
    if found is None or not all(found.sides):
        return None
    sides, signs = found
    if signs == (r"\in",):
        inner = real_set(sides[1])
        return RealSet(compact(sides[0]), inner.pieces) if inner and is_name(sides[0]) else None
    if set(signs) - _OPPOSITE.keys():
        return None
    if len(sides) == 2:
        (left, right), sign = sides, signs[0]
        if not is_name(left) and not left.startswith("|"):
            left, right, sign = right, left, _OPPOSITE[sign]
        if (size := re.fullmatch(r"\|\s*([^|]+?)\s*\|", left)) and is_name(size[1]):
            return _size(compact(size[1]), sign, right)
        if not is_name(left):
            return None
        pieces = {
            "<": (Piece(r"-\infty", False, right, False),),
            r"\le": (Piece(r"-\infty", False, right, True),),
            ">": (Piece(right, False, r"\infty", False),),
            r"\ge": (Piece(right, True, r"\infty", False),),
            "=": (Piece(right, True, right, True),),
        }.get(sign) or _holes(split_top(right))
        return RealSet(compact(left), pieces)
    if len(sides) != 3 or any(sign not in ("<", r"\le") for sign in signs):
        if len(sides) == 3 and all(sign in (">", r"\ge") for sign in signs):
            return _chain(f"{sides[2]} {_OPPOSITE[signs[1]]} {sides[1]} {_OPPOSITE[signs[0]]} {sides[0]}")
        return None
    low, middle, high = sides
    return RealSet(
        compact(middle),
        (
            Piece(
                low,
                signs[0] != "<" and compact(low) != r"-\infty",
                high,
                signs[1] != "<" and compact(high) != r"\infty",
            ),
        ),
    )
