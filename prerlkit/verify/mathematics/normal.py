"""Brings an answer into one spelling: LaTeX's many ways to write the same thing, units, currency, brackets."""

from __future__ import annotations

import re
from fractions import Fraction

_CHARACTERS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ", "∪": r"\cup ",
    "√": r"\sqrt ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∈": r"\in ", "±": r"\pm ", "²": "^2", "³": "^3",
    "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⟨": r"\langle ", "⟩": r"\rangle ", "θ": r"\theta ",
    "\u00a0": " ", "\u2009": " ", "°": "", "€": "", "£": "", "¥": "",
}  # fmt: skip
_TABLE = str.maketrans(_CHARACTERS)
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|phantom)(?![a-zA-Z])\.?", ""),
        (r"(?<!\\)\\[!,;:>]|\\q?quad(?![a-zA-Z])|(?<!\\)\\ |~", " "),
        (r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?:s)?(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:textstyle)?(?:geq)(?![a-zA-Z])", r"\\ge"),
        (r"\\leq(?![a-zA-Z])", r"\\le"),
        (r"\\neq(?![a-zA-Z])", r"\\ne"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"\\begin\{[bvBV]?(?:matrix|smallmatrix)\}|\\begin\{array\}(?:\{[^{}]*\})?", r"\\begin{pmatrix}"),
        (r"\\end\{(?:[bvBV]?(?:matrix|smallmatrix)|array)\}", r"\\end{pmatrix}"),
        (r"\{,\}", ","),
        (r"^\s*\\(?:approx|sim|simeq)(?![a-zA-Z])|(?<=.)\\(?:approx|simeq)(?![a-zA-Z]).*", ""),
        (r"\{(and|or)\}", r" \1 "),
        (r"(?<![a-zA-Z}])\{\}", ""),
        (r"(?<=\d),(?=\d{3}(?:,\d{3})*\})", ""),  # \frac{1}{20,000}
        (r"\\(sin|cos|tan|cot|sec|csc|log|ln)\s*\^\s*(\d)\s*(?=[a-zA-Z])", r"\\\1^{\2} "),
        (r"\+\s*\\infty", r"\\infty"),
        (r"(?<=\d)\s+(?=\d{3}(?:\s\d{3})*$)", ""),  # 12 345, from 12\,345
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*([\da-zA-Z])", r"\1{\2}"),
        (r"\\sqrt\s*([\da-zA-Z])", r"\\sqrt{\1}"),
        (r"\\\$|\$", ""),
    )
]
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|hbox|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}")
# Words that change a number's value, so they aren't units.
_NO_UNITS = frozenset(
    re.findall(
        r"\w+",
        """and or to hundred thousand million billion trillion dozen half pi sqrt sin cos tan log ln exp mod times plus
        minus over of if for where frac infty cup cdot pm le ge ne in""",
    )
)
_UNIT_TEXT = re.compile(
    r"^(?P<value>.*[\d})])\s*\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm)\s*\{(?P<words>[^{}\d]*)\}\s*(?:\^\s*\{?\d\}?)?$",
    re.DOTALL,
)
_UNIT_WORDS = re.compile(
    r"^(?P<value>[^a-zA-Z\\]*\d\S*?|.*\})\s*(?P<words>[a-zA-Z]{2,}(?:[ ./]+[a-zA-Z]+)*)\.?(?:\s*\^\s*\{?\d\}?)?$"
)
_NUMBER = re.compile(
    r"([+-]?)\(?(\d+(?:,\d{3})*(?:\.\d*)?|\.\d+)\)?(?:e([+-]?\d{1,3})|(?:\\times|\\cdot|\*)10\^(?:\{([+-]?\d{1,3})\}|(\d)))?"
)
_FRACTION = re.compile(r"([+-]?)(\d*)(?:\\frac\{([+-]?\d+(?:\.\d+)?)\}\{([+-]?\d+(?:\.\d+)?)\})")
_SLASHED = re.compile(r"([+-]?)(?:(\d+)[ ])?\(?([+-]?\d+(?:\.\d+)?)\)?[ ]?/[ ]?\(?(\d+(?:\.\d+)?)\)?")


def normal(answer: str) -> str:
    """The answer in one spelling: no dollars, degrees, spacing commands, outer braces, final full stop or unit."""
    text = answer.strip().translate(_TABLE)
    text = re.sub(r"^\\[\[(](.*)\\[\])]$", r"\1", text, flags=re.DOTALL).strip()
    while (box := re.fullmatch(r"\\(?:boxed|fbox)\s*\{(.*)\}", text, re.DOTALL)) and _encloses(text, text.index("{")):
        text = box.group(1).strip()
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = text.strip().rstrip(".,;").strip()
    text = without_unit(text)
    text = _TEXT.sub(r" \1 ", text)
    text = re.sub(r"\s+", " ", text).strip()
    while text.startswith("{") and _encloses(text, 0):
        text = text[1:-1].strip()
    return text


def compact(answer: str) -> str:
    """A normal answer without any space. What is only spaced differently becomes equal."""
    return answer.replace(" ", "")


def without_unit(text: str) -> str:
    r"""`5\text{ cm}^2`, `5 apples` → `5`. A number word (`5 million`) or a single letter (`5x`) is no unit."""
    for pattern in (_UNIT_TEXT, _UNIT_WORDS):
        match = pattern.match(text)
        if match and not _NO_UNITS & set(re.findall(r"[a-z]+", match["words"].lower())):
            return match["value"].strip().rstrip("\\").strip()
    return text


def number(text: str) -> tuple[Fraction, bool] | None:
    """The rational number that a normal answer is, and whether it is a percentage; None when it is something else."""
    percent = re.fullmatch(r"(.*?)\s*\\?%", text)
    if percent:
        text = percent.group(1)
    tight = compact(text)
    if len(tight) > 1000:  # Python refuses to read integers beyond 4300 digits
        return None
    if match := _NUMBER.fullmatch(tight):
        sign, digits, *exponents = match.groups()
        if "," in digits and not re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d*)?", digits):
            return None
        value = Fraction(digits.replace(",", "").rstrip(".") or "0") * Fraction(10) ** int(
            next(filter(None, exponents), 0)
        )
    elif match := _FRACTION.fullmatch(tight) or _SLASHED.fullmatch(text):
        sign, whole, above, below = match.groups()
        if Fraction(below) == 0:
            return None
        value = Fraction(whole or 0) + Fraction(above) / Fraction(below)
    else:
        return None
    return (-value if sign == "-" else value), percent is not None


def split_top(text: str, separator: str = ",") -> list[str]:
    """Cut at separators that aren't inside brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == separator and depth <= 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, text[start:]]]


def _encloses(text: str, start: int) -> bool:
    """Whether the brace that opens at `start` closes at the very end."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return i == len(text) - 1
    return False
