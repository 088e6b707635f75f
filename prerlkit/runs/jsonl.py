"""The JSON files of a run folder: written whole, read up to the first damaged line. No heavy import.

Lines of numbers end in a checksum, `"crc32": "…"`, over the text of the line without it. In them a flipped
digit would still be valid JSON. Lines without a check (earlier versions) are read as they are.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prerlkit.errors import PrerlkitError
from prerlkit.files import append_text, keep_copy, new_file
from prerlkit.metrics.metric import with_current_names
from prerlkit.types import Group

LONGEST_LINE = 1 << 26
"""Characters of a line, and bytes of a JSON file, that are read. A step's samples take some hundred kilobytes."""
_LONGEST_NUMBER = 300  # digits; floats end there
_STEP = re.compile(r'\{"step": (\d{1,18}),')
"""How lines of samples.jsonl and probes.jsonl begin."""
_TAIL = 1 << 16
"""Bytes at the end of a file that hold its last line."""


_CHECK, _CHECK_END = ', "crc32": "', '"}'
_CHECK_LENGTH = len(_CHECK) + 8 + len(_CHECK_END)


def _line(value: Mapping[str, Any], *, checked: bool) -> str:
    # Lone surrogates, which models do write, are escaped so that the file is always valid UTF-8.
    text = json.dumps(value, ensure_ascii=True)
    if checked:
        text = f"{text[:-1]}{_CHECK}{zlib.crc32(text.encode()):08x}{_CHECK_END}"
    return text + "\n"


def append_lines(path: Path, values: Sequence[Mapping[str, Any]], *, checked: bool = False) -> None:
    """Append to a jsonl file, whole or not at all.

    Args:
        checked: end each line in its check. The values must not be empty.
    """
    append_text(path, "".join(_line(v, checked=checked) for v in values))


def parse_line(text: str) -> dict[str, Any] | None:
    """Return the object in a line, without its check; None for one that is not what was written."""
    text = text.strip()
    end = text[-_CHECK_LENGTH:]
    if end.startswith(_CHECK) and end.endswith(_CHECK_END):
        text = text[:-_CHECK_LENGTH] + "}"
        if end != f"{_CHECK}{zlib.crc32(text.encode()):08x}{_CHECK_END}":
            return None
    try:
        line = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def keep_lines(path: Path, wanted: Callable[[Mapping[str, Any]], bool], report: Callable[[str], None]) -> None:
    """Take lines out of a jsonl file. The others stay as they are, byte by byte.

    A file with a line that can't be read is kept as it is, under another name. A last line without its end is none of
    these: its process died while it wrote.

    Args:
        wanted: whether a line stays; KeyError and TypeError where the line is not of this file's kind.
        report: receives a sentence about a file that was kept.
    """
    if not path.is_file():
        return
    damaged: list[int] = []
    kept, changed = 0, False
    with path.open("rb") as lines, new_file(path) as (file, discard):
        for number, raw in enumerate(lines, 1):
            keep = _is_wanted(raw, wanted)
            if keep:
                kept += 1
                file.write(raw)
            elif keep is None:
                damaged.append(number)
            changed = changed or not keep
        if damaged:
            copy = keep_copy(path)
            where = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
            report(
                f"{path} is damaged: line {where} can't be read. The file as it was is kept as {copy.name}; "
                f"{kept} readable lines are used"
            )
        if not changed:
            discard()


def _is_wanted(raw: bytes, wanted: Callable[[Mapping[str, Any]], bool]) -> bool | None:
    """Whether a line stays; None for one that can't be read or placed."""
    if not raw.endswith(b"\n"):
        return False
    line = parse_line(raw.decode("utf-8", errors="replace"))
    if line is None:
        return None
    try:
        return wanted(line)
    except (KeyError, TypeError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where there is no file.

    Raises:
        PrerlkitError: it is not readable JSON, or something else than an object.
    """
    if not path.is_file():
        return {}
    if path.stat().st_size > LONGEST_LINE:
        raise PrerlkitError(f"{path} has more than {LONGEST_LINE:,} bytes.", "Restore it from a copy.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise PrerlkitError(f"{path} is not readable JSON: {error}", "Restore it from a copy.") from error
    if not isinstance(content, dict):
        raise PrerlkitError(f"{path} holds no JSON object but a {type(content).__name__}.", "Restore it from a copy.")
    return content


def iter_lines(path: Path, steps: Container[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the lines of a jsonl file, each an object, up to one that is damaged, too long or something else.

    Args:
        steps: leave out lines of other steps, without parsing them; None: none are left out.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        while text := lines.readline(LONGEST_LINE):
            if steps is not None and (found := _STEP.match(text)) and int(found[1]) not in steps:
                continue
            if len(text) == LONGEST_LINE or (line := parse_line(text)) is None:
                return
            yield line


def _whole(digits: str) -> int | float:
    """A whole number, as a float where it is beyond all floats: what is charted or averaged has to be one."""
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines that `iter_lines` yields."""
    return list(iter_lines(path))


def read_last_line(path: Path) -> dict[str, Any]:
    """Return the last whole line of a jsonl file without reading all of it; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        if (found := parse_line(line.decode("utf-8", errors="replace"))) is not None:
            return found
    return {}


def group_line(group: Group) -> dict[str, Any]:
    """Return a judged group as a file of samples holds it."""
    return {
        "prompt_id": group.prompt.id,
        "prompt": group.prompt.text,
        "answer": group.prompt.answer,
        "completions": [
            {
                "text": completion.text,
                "tokens": len(completion.token_ids),
                "truncated": completion.truncated,
                "logprob": sum(completion.logprobs),
                "score": verdict.score,
                "passed": verdict.passed,
                "reason": verdict.reason,
                "details": dict(verdict.details),
            }
            for completion, verdict in zip(group.completions, group.verdicts, strict=True)
        ],
    }


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, those of earlier versions under today's names."""
    return [with_current_names(line) for line in read_lines(path)]
