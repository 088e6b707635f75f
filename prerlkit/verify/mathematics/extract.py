"""Finds the answer in a completion: between tags, in a box, after `####`, after "answer is", or at its end.

An answer is taken whole or not at all: no number is taken out of a formula, a list or a longer word. Every function
takes time in proportion to its text: a megabyte of unclosed braces takes no longer than one of prose.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prerlkit.verify.mathematics.phrase import answer_of_phrase, last_maths, last_number

__all__ = ["auto", "boxed", "boxes", "hashes", "last_maths", "last_number", "said", "tagged"]

_LONGEST = 2_000  # characters of a line that states an answer

_BOX_TOKEN = re.compile(r"\\{1,3}(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s*(\\[dt]?frac(?:\d\d|\{[^{}]*\}\{[^{}]*\})|[^\s{}$\\.,;]+)")
_JOINT = re.compile(r"(?:[\s$,;&*.]|\\[,;:!\s()\[\]]|\\q?quad|\\text\s*\{\s*(?:and|or)\s*\}|and|or)*")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"(?m)(?<!#)####(?!#)[ \t]*([^\n]+)")
_LABEL = re.compile(r"(?:the\s+)?(?:final\s+)?answer\s*(?:is)?\s*[:=]\s*", re.IGNORECASE)
_HEADING = re.compile(
    r"\d+[.)]\s+[A-Za-z]|[A-Za-z]+(?:\s+\d+)?\s*[:.]|(?:\w+\s+)*(?:answer|solution|conclusion)\b", re.IGNORECASE
)
_TITLE = re.compile(r"(?m)^#+(?=[^\n]*[A-Za-z]{3})[^\n]*$")
_SAID = re.compile(
    r"\b(?:(?:answers?|solutions?|results?)\b[ \t]*(?:is|are|was|were|[:=])|answers?[ \t]*\*\*[ \t]*:?)"
    r"[ \t:]*(?:\*\*)?[ \t]*(?=\S)",
    re.IGNORECASE,
)


def auto(text: str) -> str | None:
    r"""Return what the last `<answer>` tag holds, else the last box, else what follows `####` or "answer is", else
    the mathematics at the end."""
    if (inner := tagged(text)) is not None:
        return _first(inner, boxes, hashes, said) or answer_of_phrase(inner) or None
    if (found := boxes(text)) is not None and found.strip():
        return found
    return _first(text, hashes, said, lambda whole: last_maths(_TITLE.sub("", whole[-_LONGEST:])))


def _first(text: str, *ways: Callable[[str], str | None]) -> str | None:
    """The first answer that is not empty."""
    return next((found for way in ways if (found := way(text)) is not None and found.strip()), None)


def tagged(text: str) -> str | None:
    """Return what the last `<answer>` tag holds; None without one."""
    start = text.lower().rfind("<answer>")
    if start < 0:
        return None
    found = _TAG.match(text, start)
    return found[1].strip() if found else text[start + len("<answer>") :].strip()


def boxed(text: str) -> str | None:
    r"""Return what the last complete `\boxed{…}` holds, nested braces and all; None without one."""
    places = _places(text)
    if places:
        start, end, _ = places[-1]
        return text[start:end]
    bare = None
    for bare in _BARE_BOX.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    return bare[1] if bare else None


def boxes(text: str) -> str | None:
    r"""Return the last box, with those right before it as a list: `\boxed{1}` and `\boxed{2}` are `1, 2`.

    Boxes belong together when nothing but a comma, "and" or "or" is between them.
    """
    places = _places(text)
    if not places:
        return boxed(text)
    kept = [places[-1]]
    for place in places[-2::-1]:
        between = text[place[1] + 1 : kept[0][2]]
        if len(between) > 60 or not _JOINT.fullmatch(between) or place[1] > kept[0][2]:
            break
        kept.insert(0, place)
    return ", ".join(text[start:end] for start, end, _ in kept)


def _places(text: str) -> list[tuple[int, int, int]]:
    """For each complete box, in the order of their ends: start and end of its content, and start of its command."""
    if "box" not in text:
        return []
    found: list[tuple[int, int, int]] = []
    stack: list[tuple[int, int]] = []  # content's start and command's, of each open box; -1 for a plain brace
    for token in _BOX_TOKEN.finditer(text):
        match token.group()[-1], len(token.group()):
            case "{", 1:
                stack.append((-1, -1))
            case "}", 1:
                start, command = stack.pop() if stack else (-1, -1)
                if start >= 0:
                    found.append((start, token.start(), command))
            case "{", length if length > 2:
                stack.append((token.end(), token.start()))
    return found


def hashes(text: str) -> str | None:
    """Return what follows the last `####` on its line (GSM8K's way), if that is an answer and no heading."""
    end = len(text.rstrip())
    for found in reversed(list(_HASHES.finditer(text))):
        line = found[1].strip().strip("*").strip()
        last = found.end() >= end
        if label := _LABEL.match(line):
            line = line[label.end() :].strip("* ")
        elif _HEADING.match(line):
            continue
        words = re.findall(r"(?<![\\A-Za-z{])[A-Za-z]{2,}", re.sub(r"\\[a-z]+\s*\{[^{}]*\}", "", line))
        if line and (last or not words or (len(words) < 3 and line[0].isdigit())):
            return line
    return None


def said(text: str) -> str | None:
    """Return the answer in what follows the last "answer is" or "answer:", to the end of its sentence."""
    found = None
    for found in _SAID.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if found is None:
        return None
    line = text[found.end() : found.end() + _LONGEST].partition("\n")[0]
    phrase = re.split(r"\.(?:\s|\*|$)", line, maxsplit=1)[0].strip("* \t")
    if re.search(r"\?\s+\w", phrase):
        return None  # a question, and something else is the answer
    return answer_of_phrase(phrase) or None if phrase else None
