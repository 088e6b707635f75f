"""Takes the code out of a completion: the fenced block that holds the solution, or all of it where there is no block.

Only the text is looked at, in linear time. A completion is never parsed outside the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

_FENCE = re.compile(r"(?P<before>[ \t]*(?:(?:[-*+>]|\d{1,3}[.)])[ \t]+)*)(?P<fence>`{3,}|~{3,})(?P<info>.*)", re.DOTALL)
_PYTHON = re.compile(r"python|py|python[23](\.\d+)?|py[23]", re.IGNORECASE)
_OTHER_WORDS = re.compile(r"[^\w.+#-]+")
# Two names side by side are never Python.
_WORDS = re.compile(r"[A-Z][\w'’]* (?!(?:and|or|not|in|is|if|else|for)\b)[A-Za-z][\w'’]* [A-Za-z].*")
# A line that a program has and an output seldom: a statement, a call, an assignment.
_STATEMENT = re.compile(
    r"[ \t]*(?:(?:async +)?def |class |import |from +[\w.]+ +import |return\b|@\w|"
    r"(?:for|while|if|with|try|elif|else)\b[^:]*:|[\w.]+\(|[\w.\[\], ]+[-+*/%|&^]?=[^=])"
)
_READS = re.compile(
    r"\binput *[(),]|= *input\b|\bstdin\b|\bopen *\( *(?:0|['\"]/dev/stdin)|\bfileinput\b|\bos\.read *\( *0"
)
_PROSE = re.compile(r"[A-Z][\w'’]*(?:,? [\w'’`()-]+){2,}.*")
_LABEL = re.compile(r"[A-Z*][\w '’*-]*:\**\s*")
_MARKER = re.compile(r"^[ \t]*\[BEGIN\][ \t]*(?:\r?\n)?|\[DONE\][ \t]*\r?$", re.MULTILINE)  # of MBPP's prompt
_LINE = 200  # characters of a line that are looked at


@dataclass(slots=True)
class _FencedBlock:
    """A fenced block. `indent`: columns in front of its fence. `closed`: by a fence with nothing behind it."""

    language: str
    fence: str
    indent: int
    lines: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def text(self) -> str:
        """What it holds, less the fence's own indentation where every line has that."""
        lines = self.lines if self.closed else _without_prose(self.lines)
        if self.indent and all(_indent(line) >= self.indent for line in lines if line.strip()):
            moved = [_cut(line, self.indent) for line in lines]
            if _begins_with_statement(moved):
                lines = moved
        return "".join(lines)

    @property
    def tagged(self) -> bool:
        return _PYTHON.fullmatch(self.language) is not None

    @property
    def python(self) -> bool:
        """Whether it is Python, or does not say what it is."""
        return self.tagged or not self.language


def code_of(completion: str, names: Collection[str] = (), stdin: bool = False) -> str:
    """Return the code of a completion.

    Of several blocks it is, among those that are Python or name no language: the last that defines one of `names`;
    for a program, the last that reads its input; else the last that is marked as Python, else the last that looks like
    a program and not like its output, else the last. Without such a block it is the last of another language, and
    without any block the whole completion. `[BEGIN]` and `[DONE]`, as in MBPP's prompt, mark a block where there are no
    fences, and the code within a fenced block.

    A block that is never closed ends with the next one, with a paragraph of prose, or with the text. Where the only
    fences are closing ones, the completion began inside a block. The code's indentation is kept, as a completion may be
    the rest of a function; the indentation of the fence itself, in a list for example, is taken away.

    Args:
        names: functions and classes that the tests ask for, where they are known.
        stdin: the tests run a program that reads its input.
    """
    before, blocks = _blocks(completion)
    if before is None and blocks:
        before = _chosen(blocks, names, stdin)
    code = completion if before is None else before
    marked = _marked(code)
    return _chosen(marked, names, stdin) if marked else code


def _chosen(blocks: list[_FencedBlock], names: Collection[str], stdin: bool) -> str:
    """Return the text of the block that holds the solution."""
    python = [block for block in blocks if block.python and block.text.strip()]
    defining = [block for block in python if names and _defines(block.text, names)]
    assigning = [block for block in python if names and _assigns(block.text, names)]
    reading = [block for block in python if stdin and _READS.search(block.text)]
    tagged = [block for block in python if block.tagged]
    programs = [block for block in python if any(map(_is_statement, block.text.splitlines()))]
    for found in (defining, assigning, reading, tagged, programs, python):
        if found:
            return found[-1].text
    return next((block.text for block in reversed(blocks) if block.python), blocks[-1].text)


def _marked(text: str) -> list[_FencedBlock]:
    """Return what stands between `[BEGIN]` and `[DONE]`. The prompt may have written the first `[BEGIN]`."""
    blocks: list[_FencedBlock] = []
    start = 0  # of the open block; -1 between blocks, 0 where the text may begin in one
    for marker in _MARKER.finditer(text):
        begins = "[BEGIN]" in marker[0]
        if start > 0 or (start == 0 and not begins):
            blocks.append(_FencedBlock("", "", 0, [text[start : marker.start()] + "\n"], closed=True))
        start = marker.end() if begins else -1
    if start > 0:
        blocks.append(_FencedBlock("", "", 0, text[start:].splitlines(keepends=True)))
    return blocks


def _blocks(completion: str) -> tuple[str | None, list[_FencedBlock]]:
    """Return the blocks, and the text before the first fence where that fence closes a block begun in the prompt."""
    blocks: list[_FencedBlock] = []
    before: list[str] = []
    open_block: _FencedBlock | None = None
    for line in completion.splitlines(keepends=True):
        match = _FENCE.match(line)
        info = "" if match is None else match["info"].strip()
        if match is not None and match["fence"][0] == "`" and "`" in info:
            match = None  # code in a line of prose: ```x```
        if open_block is not None:
            if match is not None and _ends(open_block, match, info):
                open_block.closed = not info
                open_block = None
                if not info:
                    continue
            else:
                if _closes_behind(line, open_block):
                    open_block.lines.append(line.rstrip()[: -len(open_block.fence)] + "\n")
                    open_block.closed, open_block = True, None
                else:
                    open_block.lines.append(line)
                continue
        if match is None:
            if not blocks:
                before.append(line)
            continue
        language = _OTHER_WORDS.sub(" ", info).strip().partition(" ")[0].lower()
        open_block = _FencedBlock(language, match["fence"], len(match["before"].expandtabs(4)))
        blocks.append(open_block)
    # A bare fence that nothing closes, behind what looks like a program: the prompt opened the block.
    begun = bool(blocks) and not blocks[0].closed and not blocks[0].language and _begins_with_statement(before)
    return ("".join(before) if begun else None), blocks


def _ends(block: _FencedBlock, match: re.Match[str], info: str) -> bool:
    """Whether a fence ends a block: a bare one closes it, one with a language begins the next."""
    before, fence = match["before"], match["fence"]
    if fence[0] != block.fence[0] or len(fence) < len(block.fence):
        return False
    if len(before.expandtabs(4)) > block.indent + 3:  # as in Markdown; such a fence is in a docstring
        return False
    return before.isspace() or not before or bool(info)


def _closes_behind(line: str, block: _FencedBlock) -> bool:
    """Whether the closing fence stands at the end of a line of code."""
    text = line.rstrip()
    return text.endswith(block.fence) and not text.strip().startswith(block.fence) and block.fence[0] == "`"


def _without_prose(lines: list[str]) -> list[str]:
    """Lines up to the first line of prose behind the code."""
    return next((lines[:number] for number, line in enumerate(lines) if number and _is_prose(line)), lines)


def _is_prose(line: str) -> bool:
    text = line.rstrip()[:_LINE]
    if _is_statement(line):
        return False
    if _WORDS.fullmatch(text) is not None or _LABEL.fullmatch(text) is not None:
        return True
    return line.rstrip()[-1:] in (".", ":", "!", "?", "*") and _PROSE.match(text) is not None


def _is_statement(line: str) -> bool:
    return _STATEMENT.match(line[:_LINE]) is not None


def _begins_with_statement(lines: list[str]) -> bool:
    return _is_statement(next((line for line in lines if line.strip()), ""))


def _defines(text: str, names: Iterable[str]) -> bool:
    any_name = "|".join(map(re.escape, names))
    return re.search(rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(?:{any_name})\b", text, re.MULTILINE) is not None


def _assigns(text: str, names: Iterable[str]) -> bool:
    any_name = "|".join(map(re.escape, names))
    return re.search(rf"^(?:{any_name})[ \t]*(?::[^=\n]*)?=(?!=)", text, re.MULTILINE) is not None


def _indent(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())


def _cut(line: str, columns: int) -> str:
    """Return a line without its first columns of white space."""
    if line[:columns].isspace() and "\t" not in line[:columns]:
        return line[columns:]
    return line.expandtabs(4)[columns:] if line.strip() else "\n"
