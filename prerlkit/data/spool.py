"""A list on disk: a million rows as Python objects take gigabytes of memory, as text in a file none."""

from __future__ import annotations

import json
import tempfile
import threading
import weakref
from array import array
from typing import Any

from prerlkit.errors import PrerlkitError

IN_MEMORY = 1 << 25
"""Bytes up to which a spool stays in memory."""
MOST_BYTES = 1 << 37
"""Bytes that a spool takes on disk at most: a small compressed file can claim any size."""
_encode = json.JSONEncoder(check_circular=False).encode  # made once: a row would take twice the time


class Spool:
    """Values that JSON can hold, by the order in which they were appended. No value can be changed or removed.

    Up to IN_MEMORY bytes are kept in memory. More goes to a temporary file without a name (TMPDIR), so the system
    removes it with the process. Pages of that file are the system's cache and no memory of the process.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by the finalizer
        self._ends = array("Q", [0])
        self._lock = threading.Lock()  # a file has one position
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, value: Any) -> None:
        """Add a value at the end.

        Raises:
            PrerlkitError: the disk of temporary files is full, or the spool has MOST_BYTES.
        """
        text = _encode(value).encode("ascii")
        end = self._ends[-1] + len(text)
        if end > MOST_BYTES:
            raise PrerlkitError(f"the rows of the data have more than {MOST_BYTES:,} bytes", "Use fewer rows.")
        with self._lock:
            try:
                self._file.seek(self._ends[-1])
                self._file.write(text)
            except OSError as error:
                raise _full(error, end) from error
        self._ends.append(end)

    def __getitem__(self, number: int) -> Any:
        """Return the value with that number, 0 first; a new object at each call."""
        start, end = self._ends[number], self._ends[number + 1]
        with self._lock:
            try:
                self._file.seek(start)
                text = self._file.read(end - start)
            except OSError as error:
                raise _full(error, end) from error
        return json.loads(text)


def _full(error: OSError, size: int) -> PrerlkitError:
    return PrerlkitError(
        f"the rows of the data, {size:,} bytes so far, can't be kept in {tempfile.gettempdir()}: {error}",
        "Free space there, or set TMPDIR to a folder on a larger disk.",
    )
