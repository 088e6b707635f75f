r"""Answers of several parts: lists and sets in any order, points and intervals in theirs, matrices cell by cell."""

from __future__ import annotations

import re
from types import EllipsisType

from prerlkit.verify.mathematics.formula import Unreadable
from prerlkit.verify.mathematics.grammar import read
from prerlkit.verify.mathematics.normal import compact, split_top
from prerlkit.verify.mathematics.relations import Same, assignment, is_name, relation

_MOST_PARTS = 64  # a longer list is compared in order only: any order takes time by its square
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")
_JOINT = re.compile(
    r"\\(?:lor|vee)(?![a-zA-Z])|(?<=[\d)\]}a-zA-Z.])\s*(?:,\s*)?\b(?:and|or)\b\s*(?=[-+\d(\[\\{a-zA-Z.])|(?<=[\d)\]}])(?:and|or)(?=[-\d(\[\\])|;"
)
_MATRIX = re.compile(r"(.*?)\\begin\{(?P<kind>[pv])matrix\}(.*)\\end\{(?P=kind)matrix\}(.*)", re.DOTALL)
_SIGNS = re.compile(r"\\(pm|mp)(?![a-z])")

Verdict = bool | None | EllipsisType
"""`...`: not for this comparison to say. None: the gold answer can't be read."""


def listed(text: str, every_comma: bool = False) -> list[str]:
    r"""Return the parts of a list or set: `1, 2`, `\{1, 2\}`, `1 and 2`, `\pm 1`. A number's own commas are none.

    Args:
        every_comma: `100,200` has two parts, because what it is compared with is a list.
    """
    if (member := re.fullmatch(r"([^{}]+?)\s*\\in\s*(\\\{.*\\\})", text, re.DOTALL)) and is_name(member[1]):
        text = member[2]
    inner = re.fullmatch(r"\\\{(.*)\\\}", text, re.DOTALL)
    text = inner[1] if inner and r"\}" not in inner[1] else text
    text = _JOINT.sub(", ", text)
    if not every_comma:
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", "\x00"), text)
    return [one for part in split_top(text) for one in both_signs(part.replace("\x00", ",")) if one]


def both_signs(part: str) -> list[str]:
    r"""Return `a \pm b` as a + b and a - b; all signs of a text go together."""
    if not _SIGNS.search(part):
        return [part]
    upper, lower = {"pm": "+", "mp": "-"}, {"pm": "-", "mp": "+"}
    return [_SIGNS.sub(lambda found: upper[found[1]], part), _SIGNS.sub(lambda found: lower[found[1]], part)]


def as_list(gold: str, answer: str, same: Same) -> Verdict:
    """Lists and sets in any order, `x = 5, y = 6` by its names."""
    golds, answers = listed(_systems(gold)), listed(_systems(answer))
    if not golds or not answers:
        return ...
    if len(golds) == 1 and len(answers) == 1:
        return ...
    if len(golds) == 1:
        golds = _hidden_list(gold, r"[1-9]\d\d") or golds
    elif len(answers) == 1:
        answers = _hidden_list(answer, r"[1-9]\d{0,2}") or answers
    if any(_is_set_of(one) for one in answers) and not any(_is_set_of(one) for one in golds):
        return False  # {1}, {2} are two sets, and no numbers
    if len(golds) == 1 and (tuple_ := bracketed(gold)) and (values := _in_order_of_names(answers)):
        return tuple_[0] == "()" and _in_order(tuple_[1], values, same)
    if len(answers) == 1 and (tuple_ := bracketed(_named(answers)[0])) and (values := _in_order_of_names(golds)):
        return tuple_[0] == "()" and _in_order(values, tuple_[1], same)
    if len(answers) > len(golds) > 1 and len(set(golds)) == len(golds):  # a repeated element of a set is one element
        answers = list({compact(one): one for one in answers}.values())
    left, right = _named(golds), _named(answers)
    if len(left) != len(right):
        return False
    if left != golds and right != answers and _names(golds) != _names(answers):
        return False
    if len(golds) > 1 and len({_root(name) for name in _names(golds) or []}) > 1:  # x = 5, y = 6
        return _any_order(golds, answers, same) if _names(answers) else _in_order(left, right, same)
    return _any_order(left, right, same)


def _hidden_list(text: str, part: str) -> list[str]:
    """The parts of a number that the other side says is a list, as 100,200,300; none where they can't be parts."""
    parts = listed(text, every_comma=True)
    return parts if all(re.fullmatch(part, one) for one in parts) else []


def _is_set_of(text: str) -> bool:
    return text.startswith(r"\{")


def _systems(text: str) -> str:
    """`p=5, q=2; p=7, q=2` as the points (5, 2), (7, 2): several systems of the same names."""
    systems = [listed(part) for part in text.split(";")]
    values = [_in_order_of_names(system) for system in systems]
    if len(systems) == 1 or not all(values) or len({tuple(_names(system) or ()) for system in systems}) > 1:
        return text
    return ", ".join(f"({', '.join(value)})" for value in values if value)


def _names(texts: list[str]) -> list[str] | None:
    """The names of a list of assignments, without their order; None where one part has none."""
    found = [assignment(part) for part in texts]
    return sorted({_root(one[0]) for one in found if one}) if found and all(found) else None


def _root(name: str) -> str:
    """A name without its index: x_1 and x_2 are values of x."""
    return compact(name).partition("_")[0]


def _named(texts: list[str]) -> list[str]:
    """The values of `x = 1, 2` or `x = 1, x = 2`; the texts where there are no names."""
    found = [assignment(part) for part in texts]
    if found and found[0] and not any(found[1:]) and not any(map(relation, texts[1:])):
        return [found[0][1], *texts[1:]]
    values = [one[1] for one in found if one]
    return values if len(values) == len(texts) else texts


def _in_order_of_names(texts: list[str]) -> list[str] | None:
    """The values of `y = 6, x = 5` by the alphabet: (5, 6). Greek letters come last."""
    found = [assignment(part) for part in texts]
    pairs = {compact(one[0]): one[1] for one in found if one}
    if len(pairs) != len(texts) or len(pairs) < 2:
        return None
    return [pairs[name] for name in sorted(pairs, key=lambda name: (name.startswith("\\"), name))]


def as_tuple(gold: str, answer: str, same: Same) -> Verdict:
    """Points and intervals: the same brackets, and the same parts in the same order."""
    left = bracketed(gold)
    if left is None:
        return ...
    right = bracketed(answer)
    if right is None:
        given = assignment(answer)
        return same(gold, given[1]) if given else False
    return left[0] == right[0] and _in_order(left[1], right[1], same)


def bracketed(text: str) -> tuple[str, list[str]] | None:
    """Return brackets and parts of `(1, 2]`; None where the text isn't one such thing."""
    text = re.sub(r"^\\?langle(.*)\\?rangle$", r"(\1)", text)
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]":
        return None
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and i < len(text) - 1:
            return None
    parts = split_top(text[1:-1], ",;")
    return (text[0] + text[-1], parts) if len(parts) > 1 else None


def as_matrix(gold: str, answer: str, same: Same) -> Verdict:
    """Matrices cell by cell. Gold matrices whose row ends have lost a backslash are read where the rows are clear."""
    left = _matrix(gold)
    if left is None:
        return None if r"\begin{pmatrix}" in gold or r"\begin{vmatrix}" in gold else ...
    right = _matrix(answer)
    if right is None:
        given = assignment(answer)
        right = _matrix(given[1]) if given else None
    if right is None or left[0] != right[0] or [len(row) for row in left[1]] != [len(row) for row in right[1]]:
        return False
    return _in_order([cell for row in left[1] for cell in row], [cell for row in right[1] for cell in row], same)


def _matrix(text: str) -> tuple[str, list[list[str]]] | None:
    """The kind (p: matrix, v: determinant) and the cells, each times the factor; None where rows differ in length."""
    found = _MATRIX.fullmatch(text)
    if not found or found[4].strip() or re.search(r"[pv]matrix", found[3]):
        return None
    kind, factor, body = found["kind"], found[1].strip(), found[3]
    if kind == "v" and factor:
        return None  # a factor of a determinant is none of its cells
    factor = f"{factor}1" if factor in ("-", "+") else re.sub(r"\s*(?:\\cdot|\\times|\*)$", "", factor)
    if r"\\" not in body:
        body = re.sub(r"\\(?=[\s\d.(-])", r"\\\\", body)
    rows = [[cell.strip() for cell in row.split("&")] for row in re.split(r"\\\\", body) if row.strip()]
    if len({len(row) for row in rows}) != 1:
        return None
    if factor:
        try:
            read(factor)
        except Unreadable:
            return None
        rows = [[f"({factor})({cell})" for cell in row] for row in rows]
    return kind, rows


def _in_order(golds: list[str], answers: list[str], same: Same) -> bool | None:
    if len(golds) != len(answers):
        return False
    unread = False
    for gold, answer in zip(golds, answers, strict=True):
        one = same(gold, answer)
        if one is False:
            return False
        unread |= one is None
    return None if unread else True


def _any_order(golds: list[str], answers: list[str], same: Same) -> bool | None:
    if len(golds) > _MOST_PARTS:
        return _in_order(golds, answers, same)
    left = list(answers)
    for gold in golds:
        results = [same(gold, answer) for answer in left]
        if True not in results:
            return None if None in results else False
        del left[results.index(True)]
    return True
