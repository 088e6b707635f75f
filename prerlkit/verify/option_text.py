"""Prepares a text for `prerlkit.verify.options`: without markup, split where it corrects itself."""

from __future__ import annotations

import re
import unicodedata

_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mathsf|textrm|mathit|textit|boxed|fbox|bf|rm)\b\s*")
_ARROW = re.compile(r"\\(?:[Rr]ightarrow|[Ll]ongrightarrow|to|implies|therefore)\b|(?<![=-])[=-]+>|[⇒⟹∴]")
_SPACE = re.compile(r"\\(?:quad|qquad|[,;:! ])|[~*`$\"“”]|\\[()\[\]]|</?[A-Za-z]{1,10}>|[\u200b-\u200f\u2060\ufeff]")
_CERTAIN = re.compile(
    r"\b(?:(?:no|without|beyond)\s+(?:an?y?\s+|the\s+)?(?:doubt|question)"
    r"|nothing\s+(?:else\s+)?(?:but|except|other\s+than)|none\s+other\s+than|(?:can't|cannot|can\s+not)\s+be\s+anything\s+(?:else\s+)?(?:but|except|other\s+than))\b",
    re.IGNORECASE,
)
_ANGLED = re.compile(r"<([A-Z])>")
_UNDERLINED = re.compile(r"(?<![\w\\])(_{1,2})(\(?[A-Za-z]\)?(?:[.:)] ?[^_\n]{0,80})?)\1(?!\w)")
# Words that take back what was said before them.
CORRECTION = re.compile(
    r"(?:(?<=[.!?;:,(\n])|(?<=[—–-])|^)\s*(?:(?:(?:no|nope|oops|sorry|hmm|actually|rather)\s*(?:[,!—–-]|\.(?=\s*\(?[A-Z]\b))"
    r"|(?:no,?\s+)?wait\b|correction\b|(?:edit|update)\s*:|apolog(?:y|ies)\b|my\s+(?:bad|mistake)\b|on\s+(?:further\s+)?reflection\b|i\s+made\s+(?:a\s+mistake|an\s+error)\b|i\s+was\s+wrong\b|i\s+mean[t]?\b|(?:scratch|strike|make)\s+that\b|on\s+second\s+thoughts?\b)[\s,.:!—–-]*)+",
    re.IGNORECASE,
)
TAKEN_BACK = re.compile(
    r"^\W*\((?:(?:that\s+is\s+|this\s+is\s+)?(?:no|not|false|wrong|incorrect|Wrong|Incorrect))\)|^\s*not\W*$"
)
_OPENING = re.compile(r"^[^\w(\[{\\]+")  # bullets, colons, ticks before the answer
_QUOTED = re.compile(r"(?<!\w)'(\(?[A-Za-z]\)?)'(?!\w)")


def plain(text: str) -> str:
    """Return a text without markup and with its signs unified, for a search of lone letters."""
    text = _QUOTED.sub(r" \1 ", unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'"))
    if "</" not in text:  # no markup: "<B>" is a marked letter
        text = _ANGLED.sub(r" (\1) ", text)
    text = _UNDERLINED.sub(r"\2", text)
    text = _SPACE.sub(lambda found: "" if found[0] in "*`" else " ", _ARROW.sub(" → ", text))
    text = _CERTAIN.sub(" ", _COMMAND.sub("", text))
    return _OPENING.sub("", text).strip()


def is_glued(text: str, start: int, end: int) -> bool:
    """Return whether a letter belongs to what it touches: "C4", "B-52", "f(x)", "a.m.", "Ph.D."."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if before.isalnum() or after.isalnum() or before in ("-", "'") or after in ("(", "[", "{", "-"):
        return True
    dotted = before == "." and text[max(0, start - 2) : start - 1].isalpha()
    return dotted or (after == "." and text[end + 1 : end + 2].isalpha() and not text[end + 2 : end + 3].isalpha())
