"""The JSON files of a run folder: written whole, read up to the first torn line. No heavy import."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prerlkit.errors import PrerlkitError
from prerlkit.files import append_text, write_text
from prerlkit.metrics.metric import with_current_names
from prerlkit.types import Group

LONGEST_LINE = 1 << 26
"""Characters of a line, and bytes of a JSON file, that are read. A step's samples take some hundred kilobytes."""
_LONGEST_NUMBER = 300  # digits; floats end there
_TAIL = 1 << 16
"""Bytes at the end of a file that hold its last line."""


def rewrite_lines(path: Path, values: Sequence[Mapping[str, Any]]) -> None:
    """Replace the content of a jsonl file."""
    write_text(path, "".join(_line(value) for value in values))


def _line(value: Any) -> str:
    # Lone surrogates, which models do write, are escaped so that the file is always valid UTF-8.
    return json.dumps(value, ensure_ascii=True) + "\n"


def append_lines(path: Path, values: Sequence[Mapping[str, Any]]) -> None:
    """Append to a jsonl file, whole or not at all."""
    append_text(path, "".join(_line(v) for v in values))


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


def iter_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a jsonl file, each an object, up to one that is torn, too long or something else."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        while text := lines.readline(LONGEST_LINE):
            if len(text) == LONGEST_LINE:
                return
            try:
                line = json.loads(text, parse_int=_whole)
            except (ValueError, RecursionError):
                return
            if not isinstance(line, dict):
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
        try:
            found = json.loads(line)
        except ValueError:
            continue
        return found if isinstance(found, dict) else {}
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
