r"""Brings a text into one spelling of LaTeX without changing what it says.

Only what means the same is unified: `\dfrac` and `\frac`, `≤` and `\leq`, stretched brackets, spaces, dollars around
formulas. Units, percent and degree signs stay: what they mean depends on the gold answer.
"""

from __future__ import annotations

import re
from functools import lru_cache

_CHARACTERS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "π": r"\pi ",
    "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset ",
    "ℝ": r"\R ", "⟨": r"\langle ", "⟩": r"\rangle ", "…": r"\ldots ", "′": "'", "’": "'", "∠": r"\angle ",
    "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "₹": r"\rupee ", "€": r"\euro ", "£": r"\pound ", "¥": r"\yen ",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "θ": r"\theta ", "λ": r"\lambda ",
    "μ": r"\mu ", "σ": r"\sigma ", "φ": r"\phi ", "ω": r"\omega ", "ρ": r"\rho ", "τ": r"\tau ", "ε": r"\epsilon ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "．": ".", "，": ",", "（": "(", "）": ")", "：": ":",
    "Δ": r"\Delta ", "Ω": r"\text{ ohm}", "ₙ": "_n", "⊂": r"\subset ", "⊆": r"\subseteq ", "∧": r"\land ",
    "∨": r"\lor ", "¬": r"\neg ", "∣": "|",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}",
    "⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}",
    **{character: f"_{digit}" for digit, character in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}  # fmt: skip
_TABLE = str.maketrans(_CHARACTERS)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_RELATIONS = {"geqslant": "ge", "leqslant": "le", "geq": "ge", "leq": "le", "gt": ">", "lt": "<", "neq": "ne"}
_CURRENCY = r"\dollar "
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[hv]?phantom\s*(?:\{[^{}]*\}|[-+\w])", "~"),
        (r"\\(?:color|textcolor)\s*\{[^{}]*\}", ""),
        (r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|large|Large|LARGE|huge|Huge|small|bf|it|sf"
         r"|therefore|implies)(?![a-zA-Z])\.?", ""),
        (r"\\(?:boxed|fbox)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:mathrm|text|rm)\s*\{\s*([eid])\s*\}(?=\s*(?:$|[\^+*/,)}-]))", r"\1"),
        (r"\\colon(?![a-zA-Z])|\{\s*:\s*\}", ":"),
        (r"\\big(cup|cap)(?![a-zA-Z])", r"\\\1"),
        (r"\\text\s*\{\s*(\\(?:dollar|euro|pound|yen|rupee))\s*\}", r"\1 "),
        (r"\\frac\s*\{\s*\\(?:text|mathrm)\s*\{([^{}\d]*)\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{([^{}\d]*)\}\s*\}",
         r"\\text{ \1/\2}"),
        (r"^\\(?:text|mathrm)\s*\{\s*([-\d][^{}]*)\}$", r"\1"),
        (r"(?<=\d),\s*\\[!,;:]\s*(?=\d{3}(?!\d))", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<=\d)\{,\s*\}(?=\d{3}(?!\d))", ","),
        (r"\{\s*,\s*\}", ","),
        (r"(?<!\\)\\[,;:>]|(?<!\\)\\ |~", " "),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])|\\degrees?(?![a-zA-Z])", r"^\\circ "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"(?:\{|^)([^{}]*)\\choose(?![a-zA-Z])([^{}]*)(?:\}|$)", r"\\binom{\1}{\2}"),
        (r"(?:\{|^)([^{}]*)\\over(?![a-zA-Z])([^{}]*)(?:\}|$)", r"\\frac{\1}{\2}"),
        (r"\\(geqslant|leqslant|geq|leq|neq|(?:gt|lt)(?![a-zA-Z]))", lambda found: "\\" + _RELATIONS[found[1]] + " "),
        (r"\\(?=[<>])", ""),
        (r"\\not\s*=|!=", r"\\ne "),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"\\(?:varnothing|O)(?![a-zA-Z])", r"\\emptyset "),
        (r"\\(?:mathbb|mathbf|Bbb|mathrm)\s*\{?\s*R\s*\}?(?![a-zA-Z])|\\(?:reals|Reals)(?![a-zA-Z])", r"\\R "),
        (r"\\(?:backslash|smallsetminus)(?![a-zA-Z])", r"\\setminus "),
        (r"\\(?:dots|cdots|dotsc|dotsb|hdots)(?![a-zA-Z])|\.\.\.", r"\\ldots "),
        (r"\\(?:[lr]angle)(?![a-zA-Z])", lambda found: "(" if found[0] == r"\langle" else ")"),
        (r"\|\s*\\begin\{(?:array\}(?:\{[^{}]*\})?|(?:small)?matrix\})|\\begin\{vmatrix\}", r"\\begin{vmatrix}"),
        (r"\\end\{(?:array|(?:small)?matrix)\}\s*\||\\end\{vmatrix\}", r"\\end{vmatrix}"),
        (r"[\[(]?\s*\\begin\{[bBVp]?(?:matrix|smallmatrix)\}|[\[(]?\s*\\begin\{array\}(?:\{[^{}]*\})?",
         r"\\begin{pmatrix}"),
        (r"\\end\{(?:[bBVp]?(?:matrix|smallmatrix)|array)\}\s*[\])]?", r"\\end{pmatrix}"),
        (r"\\(?:text[a-z]*|mbox|mathrm)\s*\{\s*(?:percent(?:age)?|pct|\\?%)\s*([^{}]*)\}", r"\\% \1"),
        (r"\\cr(?![a-zA-Z])", r"\\\\"),
        (r"\\pounds(?![a-zA-Z])", r"\\pound "),
        (r"\\Omega(?=\s*$)", r"\\text{ ohm}"),
        (r"\\(?:text|mathrm)\s*\{\s*([A-Z][A-Za-z]+(?:, [A-Z][A-Za-z]+)+)\s*\}",
         lambda found: ", ".join(rf"\text{{{word}}}" for word in found[1].split(", "))),
        (r"\\(?:text[a-z]*|mbox|mathrm)\s*\{\s*(and|or)\s*\}|\{(and|or)\}", lambda found: f" {found[1] or found[2]} "),
        (r"[,;]?\s*\\q?quad\s*(?:(?:and|or)(?![a-z]))?[,;]?(?:\s*\\q?quad)?", ", "),
        (r"(?<![a-zA-Z}])\{\}", ""),
        (r"(?<![\d.,])(\d{1,3})((?:\s\d{3})+)(?![\d])", lambda found: found[0].replace(" ", "")),
        (r"\*\*([^*]+)\*\*", r"\1"),
        (r"\s+", " "),
    )
]  # fmt: skip
_OUTER = re.compile(r"\\\[(.*)\\\]|\\\((.*)\\\)", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox|mathbf|boldsymbol|underline)\s*(\{.*\})", re.DOTALL)
_TEXT = re.compile(r"\\(?:text[a-z]*|mbox|hbox|mathrm|mathbf|mathit|operatorname)\s*\{\s*\{?([^{}]*)\}?\s*\}")


@lru_cache(maxsize=8192)
def normal(answer: str) -> str:
    """Return the answer in one spelling, without dollars, outer braces, stretched brackets and final full stop."""
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda found: f"^{{{found[0].translate(_SUPERSCRIPTS)}}}", answer.strip())
    text = text.translate(_TABLE)
    text = _OUTER.sub(lambda found: found[1] or found[2] or "", text) if _OUTER.fullmatch(text) else text
    while (box := _BOX.fullmatch(text)) and encloses(box[1], 0) and ("box" in text[:6] or len(box[1]) > 4):
        text = box[1][1:-1].strip()
    text = _unbraced(_without_dollars(text.strip()))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"(?<!\\)\\$", "", text.strip()).rstrip(".,; ")
    text = re.sub(r"^(\\?[A-Za-z](?:_\w)?)\s*\\(?:approx|simeq)(?![a-zA-Z])", r"\1=", text)
    text = re.sub(
        r"^\s*\\(?:approx|sim|simeq)(?![a-zA-Z])|(?<=\S)\s*\\(?:approx|simeq)(?![a-zA-Z]).*", "", text
    ).strip()
    return _unbraced(text)


def _unbraced(text: str) -> str:
    while text.startswith("{") and encloses(text, 0):
        text = text[1:-1].strip()
    return text


def compact(answer: str) -> str:
    """Return a normal answer without its spaces, but those between digits: `3 1/2` is not 31/2."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", answer)


def plain(text: str) -> str:
    r"""Replace each TeX command around words by the words: `\text{no solution}` is `no solution`."""
    return re.sub(r"\s+", " ", _TEXT.sub(r" \1 ", text)).strip()


def split_top(text: str, separators: str = ",") -> list[str]:
    """Cut at separators that aren't inside brackets."""
    found, depth, start = [], 0, 0
    for i, character in enumerate(text):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character in separators and depth <= 0:
            found.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*found, text[start:]]]


def encloses(text: str, start: int) -> bool:
    """Return whether the brace that opens at `start` closes at the very end."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return i == len(text) - 1
    return False


def _without_dollars(text: str) -> str:
    r"""Dollars around formulas go; `\$` and a single dollar before a number are money."""
    text = text.replace(r"\$", _CURRENCY)
    if text.count("$") % 2:
        text = re.sub(r"\$(?=\s*[\d.])", lambda _: _CURRENCY, text, count=1)
    return re.sub(r"\s*\$\$?\s*", " ", text).strip()
