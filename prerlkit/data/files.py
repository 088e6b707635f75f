"""Reads rows from local files: jsonl, json, parquet and csv. Errors name the file and the line."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prerlkit.errors import UsageError
from prerlkit.suggest import nearest

Row = dict[str, Any]

LONGEST_LINE = 1 << 26
"""Bytes of a line of a text file. A row is a problem, not a book."""
MOST_ROWS = 10_000_000
"""Most rows of a parquet file, each of which becomes a dict: a small file can claim any number."""
_BATCH = 4096  # rows of a parquet file that are decoded at once


def read(path: Path) -> list[Row]:
    """Return all rows of the file; see `stream`."""
    return list(stream(path))


def stream(path: Path) -> Iterator[Row]:
    """Yield the rows of the file one by one, read by its ending. Only a .json file is held whole.

    Raises:
        UsageError: no such file, an ending that is not known, or contents that can't be read as rows.
    """
    readers: dict[str, Callable[[Path], Iterable[Row]]] = {
        ".jsonl": lambda path: (row for _, row in jsonl(path)),
        ".json": _json,
        ".parquet": _parquet,
        ".csv": _csv,
    }
    ending = path.suffix.lower()
    if ending not in readers:
        raise UsageError(f'{path}: the ending "{ending}" is not known{nearest(ending, readers)}')
    if path.exists() and not path.is_file():  # reading a pipe would block, and reading a device would not end
        raise UsageError(f"{path} can't be read: it is no regular file", "Name a file.")
    try:
        yield from readers[ending](path)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error}") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, from 1. Lines are decoded one at a time, so that the error names the line."""
    with path.open("rb") as file:
        for number in itertools.count(1):
            raw = file.readline(LONGEST_LINE + 1)
            if not raw:
                return
            if len(raw) > LONGEST_LINE:
                raise UsageError(f"{path}, line {number}: longer than {LONGEST_LINE:,} bytes", "Is it a file of rows?")
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UsageError(f"{path}, line {number}: not UTF-8 ({error.reason})", "Save it as UTF-8.") from error


def jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a jsonl file, each with its line's number, from 1. Empty lines are skipped.

    Raises:
        UsageError: a line is no JSON object, with its number.
    """
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of more than 4,300 digits
            cut = "" if line.endswith("\n") else " It is the last line: the file may be cut off."
            raise UsageError(f"{path}, line {number}: not valid JSON ({error}).{cut}") from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number}: each line must be a JSON object, not {type(row).__name__}")
        yield number, row


def _json(path: Path) -> list[Row]:
    text = "".join(line for _, line in _lines(path))
    if not text.strip():
        return []
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "One object a line is the .jsonl format: rename it." if error.msg == "Extra data" else ""
        raise UsageError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})", hint) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(rows, list):
        raise UsageError(f"{path}: must hold a list of objects, not {type(rows).__name__}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UsageError(f"{path}, item {number}: must be an object, not {type(row).__name__}")
    return rows


def _csv(path: Path) -> Iterator[Row]:
    """Yield the rows. Every value stays text: a gold answer of 007 must not become 7."""
    limit = csv.field_size_limit(sys.maxsize)  # the limit of 128 KiB is global to the process
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    try:
        header = next(reader, [])
        if twice := {name for name in header if header.count(name) > 1}:
            raise UsageError(f'{path}, line 1: two columns are named "{min(twice)}"')
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise UsageError(f"{path}, line {reader.line_num}: {len(fields)} fields, but {len(header)} columns")
            yield dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    if not path.stat().st_size:
        return
    try:
        file = pyarrow.parquet.ParquetFile(path)
        if file.metadata.num_rows > MOST_ROWS:
            raise UsageError(
                f"{path}: has {file.metadata.num_rows:,} rows, more than the {MOST_ROWS:,} that are read",
                "Keep the rows that the run needs in a smaller file.",
            )
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{path}: not a readable parquet file ({error})", "It may be cut off.") from error
