"""Finds the answer in a completion: in a box, after `####`, after "answer is", or the last mathematics in the text.

Every function takes time in proportion to its text: a megabyte of unclosed braces takes no longer than one of prose.
"""

from __future__ import annotations

import re

_TAIL = 2_000  # characters at the end in which the last formula or number is looked for

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s*([^\s{}$\\.,;]+)")
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_SAID = re.compile(r"\banswer\b[ \t]*(?:is|was|[:=])[ \t:]*(?:\*\*)?[ \t]*([^\n]+)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?[$€£]?[ \t]?"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d+|(?<!\d)\.\d+)?"  # 1,234 or 1234, then .5, or .5 alone
    r"(?:(?<=\d)/[1-9]\d*)?(?<=\d)(?:[ \t]?\\?%)?"  # /7, %
)
_MATHS = re.compile(
    r"\$\$([^$]+)\$\$|(?<![\\\w])\$([^$\n]+)\$|\\\(((?:[^\\\n]|\\(?!\)))+)\\\)|\\\[((?:[^\\]|\\(?!\]))+)\\\]"
)


def boxed(text: str) -> str | None:
    r"""What the last complete `\boxed{…}` holds, nested braces and all; None without one."""
    found: str | None = None
    stack: list[int] = []  # where each open box's content starts; -1 for a plain brace
    for token in _BOX_TOKEN.finditer(text):
        match token.group()[-1], len(token.group()):
            case "{", 1:
                stack.append(-1)
            case "}", 1:
                start = stack.pop() if stack else -1
                if start >= 0:
                    found = text[start : token.start()]
            case "{", length if length > 2:
                stack.append(token.end())
    if found is None and (bare := list(_BARE_BOX.finditer(text))):
        found = bare[-1].group(1)
    return found


def hashes(text: str) -> str | None:
    """What follows the last `####` on its line (GSM8K's way)."""
    found = _HASHES.findall(text)
    return found[-1] if found else None


def said(text: str) -> str | None:
    """What follows the last "answer is" or "answer:", to the end of its sentence."""
    found = _SAID.findall(text)
    return re.split(r"\.(?:\s|\*|$)", found[-1], maxsplit=1)[0].strip("* \t") or None if found else None


def last_number(text: str) -> str | None:
    """The last number: thousands separators, decimals, a/b, a sign and a percent sign belong to it."""
    last = None
    for last in _NUMBER.finditer(text[-_TAIL:]):  # noqa: B007 - the last one is what is wanted
        pass
    return last.group().replace("−", "-").strip() if last else None


def last_maths(text: str) -> str | None:
    """The last formula between dollars, brackets or parentheses, or the last number, whichever comes later."""
    text, formula = text[-_TAIL:], None
    for formula in _MATHS.finditer(text):  # noqa: B007 - as above
        pass
    if formula is None:
        return last_number(text)
    return last_number(text[formula.end() :]) or next(group for group in formula.groups() if group)


def auto(text: str) -> str | None:
    r"""The box if there is one, else what follows `####`, else what follows "answer is", else the last mathematics."""
    for way in (boxed, hashes, said, last_maths):
        if (found := way(text)) is not None and found.strip():
            return _out_of_prose(found) if way is said else found
    return None


def _out_of_prose(phrase: str) -> str:
    """ "$5$, because …" and "therefore 5 apples" → 5. A phrase without words, or without mathematics, is the answer."""
    prose = re.search(r"(?<![\\\w{])(?!and\b|or\b)[A-Za-z][a-z]+(?![\w}=])", re.sub(r"\\text\s*\{[^{}]*\}", "", phrase))
    if "$" in phrase or r"\(" in phrase or r"\[" in phrase or (prose and re.search(r"\d", phrase)):
        return last_maths(phrase) or phrase
    return phrase
