"""Whether two answers mean the same: by spelling, as numbers, part by part, and by computer algebra only at the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from prerlkit.verify.mathematics.normal import compact, normal, number, split_top

Symbolic = Callable[[str, str], bool | None]

_BASE = re.compile(r"\{?\(?([0-9A-Za-z]+)\}?\)?_\{?(\d{1,2})\}?")
_CLOCK = re.compile(r"\d+(?::\d+)+")
_MATRIX = re.compile(r"(.*?)\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_GIVEN = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z, ]+\))?|\\[a-z]+)\s*(?:=|\\in(?![a-z]))\s*(.+)", re.DOTALL)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .-]*[A-Za-z]")
_LETTER = re.compile(r"\(?([A-Za-z])\)?")
_MAX_PARTS = 64  # a longer list is matched in order only: matching it in any order takes time by its square


def same(gold: str, answer: str, tolerance: float, symbolic: Symbolic) -> bool | None:
    """Whether `answer` means `gold`.

    Args:
        tolerance: by how much numbers may differ, relative to the gold one (absolute where that is 0).
        symbolic: the last resort for two formulas; None when it can't read the gold one.

    Returns:
        None when the gold answer can't be read.
    """
    gold, answer = normal(gold), normal(answer)
    if not compact(gold):
        return None
    if compact(gold) == compact(answer):
        return True
    if not answer:
        return False
    for way in (_as_numbers, _as_text):
        if (known := way(gold, answer, tolerance)) is not None:
            return known
    for compare in (_as_assignment, _as_matrix, _as_union, _as_tuple, _as_list):
        if (parts := compare(gold, answer)) is not None:
            return parts(tolerance, symbolic)
    if "=" not in gold and re.search(r"=\s*0$", answer):
        return False  # an equation in its standard form is no 0, though algebra would take its right side
    return symbolic(gold, answer)


Parts = Callable[[float, Symbolic], bool | None]


def _as_numbers(gold: str, answer: str, tolerance: float) -> bool | None:
    """Two rational numbers; percentages count with and without their sign, as questions ask for both."""
    left, right = number(gold), number(answer)
    if left is None or right is None:
        return _as_based(gold, answer)
    return any(close(a, b, tolerance) for a in _readings(*left) for b in _readings(*right))


def _readings(value: Fraction, percent: bool) -> tuple[Fraction, ...]:
    return (value, value / 100) if percent else (value,)


def close(gold: Fraction, answer: Fraction, tolerance: float) -> bool:
    """Within the tolerance, relative to the gold value."""
    return gold == answer or (tolerance > 0 and abs(gold - answer) <= Fraction(tolerance) * (abs(gold) or 1))


def _as_based(gold: str, answer: str) -> bool | None:
    """Numerals in a base, `2215_6`. The base may be left out, as the question names it."""
    left, right = _BASE.fullmatch(compact(gold)), _BASE.fullmatch(compact(answer))
    if not left and not right:
        return None
    digits = [m.group(1) if m else compact(text) for m, text in ((left, gold), (right, answer))]
    bases = {int(m.group(2)) for m in (left, right) if m}
    if not all(_is_numeral(digits[0 if left else 1], base) for base in bases):
        return None  # a variable with an index
    return len(bases) == 1 and digits[0].lstrip("0") == digits[1].lstrip("0")


def _is_numeral(digits: str, base: int) -> bool:
    if not 2 <= base <= 36 or digits != digits.upper():
        return False
    return all("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".find(digit) in range(base) for digit in digits)


def _as_text(gold: str, answer: str, tolerance: float) -> bool | None:
    """Words, option letters, times and ratios: equal when they are spelled the same, whatever the case of words."""
    if _CLOCK.fullmatch(compact(gold)):
        return _CLOCK.match(compact(answer)) is not None and re.sub(r"(?i)\s*[ap]\.?m\.?$", "", answer) == gold
    letter, other = _LETTER.fullmatch(compact(gold)), _LETTER.fullmatch(compact(answer))
    if letter and other:
        return letter.group(1) == other.group(1)
    if _WORDS.fullmatch(gold) and (len(compact(gold)) > 3 or " " in gold):
        if re.search(r"[\d+*/=^\\]", answer):
            return False
        return re.sub(r"[^a-z]", "", gold.lower()) == re.sub(r"[^a-z]", "", answer.lower())
    return None


def _as_assignment(gold: str, answer: str) -> Parts | None:
    r"""`x = 5` for `5`, `x \in [1,2]` for `[1,2]`, `f(x) = …`; a name on both sides must be the same one."""
    left, right = _GIVEN.fullmatch(gold), _GIVEN.fullmatch(answer)
    if (not left and not right) or len(split_top(gold)) > 1 != len(split_top(answer)) > 1:
        return None
    if left and right and compact(left.group(1)) != compact(right.group(1)):
        return None  # y = x and x = y are one equation: for algebra to decide
    values = [m.group(2) if m else text for m, text in ((left, gold), (right, answer))]
    if any(re.search(r"(?<![<>!\\])=", value) for value in values):
        return None
    return lambda tolerance, symbolic: same(values[0], values[1], tolerance, symbolic)


def _as_matrix(gold: str, answer: str) -> Parts | None:
    """Cell by cell. Gold matrices whose row ends have lost a backslash are read where that can be told."""
    left, right = _MATRIX.fullmatch(gold), _MATRIX.fullmatch(answer)
    if not left:
        return None
    rows = [_rows(m.group(2)) if m else [] for m in (left, right)]
    if len({len(row) for row in rows[0]}) > 1:
        return lambda tolerance, symbolic: None
    if not right or compact(left.group(1)) != compact(right.group(1)):
        return lambda tolerance, symbolic: False
    if [len(row) for row in rows[0]] != [len(row) for row in rows[1]]:
        return lambda tolerance, symbolic: False
    cells = [[cell for row in matrix for cell in row] for matrix in rows]
    return lambda tolerance, symbolic: _all_same(cells[0], cells[1], tolerance, symbolic)


def _rows(body: str) -> list[list[str]]:
    if r"\\" not in body:
        body = re.sub(r"\\(?=[\s\d.(-])", r"\\\\", body)
    return [[cell.strip() for cell in row.split("&")] for row in re.split(r"\\\\", body) if row.strip()]


def _as_union(gold: str, answer: str) -> Parts | None:
    """Unions of intervals, in any order."""
    parts = [re.split(r"\\cup(?![a-z])", text) for text in (gold, answer)]
    if len(parts[0]) == 1 or len(parts[1]) == 1:
        return None
    return lambda tolerance, symbolic: _any_order(parts[0], parts[1], tolerance, symbolic)


def _as_tuple(gold: str, answer: str) -> Parts | None:
    """Points and intervals: the same brackets, and the same parts in the same order."""
    left, right = _bracketed(gold), _bracketed(answer)
    if left is None or right is None:
        return None
    if left[0] != right[0]:
        return lambda tolerance, symbolic: False
    return lambda tolerance, symbolic: _all_same(left[1], right[1], tolerance, symbolic)


def _bracketed(text: str) -> tuple[str, list[str]] | None:
    """Brackets and parts of `(1, 2]`; None when it isn't one such thing."""
    text = re.sub(r"^\\langle(.*)\\rangle$", r"(\1)", text)
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]":
        return None
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and i < len(text) - 1:
            return None
    parts = split_top(text[1:-1])
    return (text[0] + text[-1], parts) if len(parts) > 1 else None


def _as_list(gold: str, answer: str) -> Parts | None:
    r"""Lists and sets, `1, 2`, `\{1, 2\}`, `1 and 2`, `\pm 1`: the same parts in any order."""
    parts = [_listed(text) for text in (gold, answer)]
    if len(parts[0]) == 1 and len(parts[1]) == 1:
        return None
    return lambda tolerance, symbolic: _any_order(parts[0], parts[1], tolerance, symbolic)


def _listed(text: str) -> list[str]:
    text = re.sub(r"^\\\{(.*)\\\}$", r"\1", text)
    if number(text) is not None:  # 1,234
        return [text]
    parts = split_top(re.sub(r",?\s+(?:and|or)\s+", ",", text))
    return [one for part in parts for one in _both_signs(part) if one]


def _both_signs(part: str) -> list[str]:
    if len(re.findall(r"\\pm(?![a-z])", part)) != 1:
        return [part]
    return [re.sub(r"\\pm(?![a-z])\s*", sign, part).removeprefix("+") for sign in "+-"]


def _all_same(golds: list[str], answers: list[str], tolerance: float, symbolic: Symbolic) -> bool | None:
    if len(golds) != len(answers):
        return False
    unread = False
    for gold, answer in zip(golds, answers, strict=True):
        one = same(gold, answer, tolerance, symbolic)
        if one is False:
            return False
        unread |= one is None
    return None if unread else True


def _any_order(golds: list[str], answers: list[str], tolerance: float, symbolic: Symbolic) -> bool | None:
    if len(golds) != len(answers):
        return False
    if len(golds) > _MAX_PARTS:
        return _all_same(golds, answers, tolerance, symbolic)
    left = list(answers)
    for gold in golds:
        results = [same(gold, answer, tolerance, symbolic) for answer in left]
        if True not in results:
            return None if results and None in results else False
        del left[results.index(True)]
    return True
