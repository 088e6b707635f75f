"""What can be known of a regular expression without a text: that it matches nothing, or captures no such answer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = ("", *(one * count for count in (1, 2, 3, 4) for one in " \n\t"), "\r\n", " \n", "\n ")
"""White space around an answer that a pattern may ask for."""


@dataclass(frozen=True, slots=True)
class _PatternMark:
    """A bracket, bar or anchor of a pattern that is no plain character. `depth`: how many groups are around it."""

    start: int
    text: str
    depth: int


def never_matches(pattern: str, flags: int = 0) -> str:
    """Return why the pattern matches no text at all, or "" where that is not known.

    Found are anchors in the middle: something that needs a character after `$` or before `^`.
    """
    flags |= re.compile(pattern, flags).flags
    if flags & re.VERBOSE:
        return ""
    places = [place for place in _places(pattern) if place.depth == 0]
    if any(place.text == "|" for place in places):
        return ""
    lines = bool(flags & re.MULTILINE)
    ends, starts = (r"\Z", *([] if lines else ["$"])), (r"\A", *([] if lines else ["^"]))
    for place in places:
        before, after = pattern[: place.start], pattern[place.start + len(place.text) :]
        if place.text in ends and _needs_text(after, flags):
            return f"nothing can follow {place.text}" + (r" (a dollar sign is \$)" if place.text == "$" else "")
        if place.text in starts and _needs_text(before, flags):
            return f"nothing can precede {place.text}" + (r" (a caret is \^)" if place.text == "^" else "")
    return ""


def always_matches(pattern: str, flags: int = 0) -> bool:
    """Return whether the pattern is surely found in every text: it matches nothing at all, and asks for no place."""
    return not re.search(r"\(\?[^:P]|\\[AZbB]|[$^]", pattern) and bool(re.compile(pattern, flags).fullmatch(""))


def _needs_text(part: str, flags: int) -> bool:
    """Whether this part of a pattern surely needs a character other than a line feed."""
    if re.search(r"\(\?[^:P]|\\\d", part):  # looks around, refers to other parts, changes flags
        return False
    try:
        compiled = re.compile(part, flags)
    except re.error:  # it refers to another part
        return False
    return not any(compiled.fullmatch(text) for text in ("", "\n"))


def cannot_capture(pattern: re.Pattern[str], group: int | str, answer: str, *, strip: bool, ignore_case: bool) -> bool:
    """Return whether no match of the pattern can have `answer` in the group.

    False where that is not known: in a group that looks around or refers to other groups, or where letters that are not
    ASCII's are equal to others in number (ß and SS).

    Args:
        strip: white space around the captured text does not count.
        ignore_case: nor does the case of its letters.
    """
    inner = _group(pattern, group)
    if inner is None or (ignore_case and not (inner.isascii() and answer.isascii())):
        return False
    texts = [answer]
    if strip:
        texts = [first + answer.strip() + last for first, last in itertools.product(_SPACE, _SPACE)]
    flags = pattern.flags | (re.IGNORECASE if ignore_case else 0)
    try:
        compiled = re.compile(inner, flags)
    except re.error:
        return False
    return not any(compiled.fullmatch(text) for text in texts)


def _group(pattern: re.Pattern[str], group: int | str) -> str | None:
    """Return the text of a group of the pattern; None where the rest of the pattern has a say in what it matches."""
    text = pattern.pattern
    number = pattern.groupindex[group] if isinstance(group, str) else group
    if number == 0 or pattern.flags & re.VERBOSE or re.search(r"\(\?([aiLmsux-]+:|#)", text):
        return None
    opened: list[tuple[int, int]] = []  # number (0: it captures nothing), start of what is inside
    count = 0
    for place in _places(text):
        if place.text == "(":
            named = re.match(r"\(\?P<[^>]*>", text[place.start :])
            captures = bool(named) or text[place.start + 1 : place.start + 2] != "?"
            count += captures
            opened.append((count if captures else 0, place.start + (named.end() if named else 1)))
        elif place.text == ")":
            found, start = opened.pop()
            if found == number:
                inner = text[start : place.start]
                alone = not re.search(r"\(\?[^:P]|\(\?P=|\\[\dbB]", inner)
                anchors = any(one.text in ("^", "$", r"\A", r"\Z") for one in _places(inner))
                return inner if alone and not anchors else None
    return None


def _places(pattern: str) -> Iterator[_PatternMark]:
    """Yield the brackets, bars and anchors of a pattern. Escapes and characters in [] are none."""
    depth = position = 0
    while position < len(pattern):
        text = pattern[position]
        if text == "\\":
            text = pattern[position : position + 2]
            if text in (r"\A", r"\Z"):
                yield _PatternMark(position, text, depth)
        elif text == "[":
            text = _class(pattern, position)
        elif text == "(":
            yield _PatternMark(position, text, depth)
            depth += 1
        elif text == ")":
            depth -= 1
            yield _PatternMark(position, text, depth)
        elif text in "|^$":
            yield _PatternMark(position, text, depth)
        position += len(text)


def _class(pattern: str, start: int) -> str:
    """Return the set `[…]` that begins there. A bracket that closes directly after the first is a member of it."""
    found = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL).match(pattern, start)
    return found[0] if found else pattern[start]
