"""Disk space: checked before a large file is written, with a clear error when the disk is full all the same."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prerlkit.errors import PrerlkitError

_SMALL_FILES = 64 << 20
"""Allowed for tokenizer, config and the like."""


def check_space(folder: Path, needed: int) -> None:
    """Raise PrerlkitError when the disk of `folder`, which need not exist yet, has no room for `needed` bytes."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed + _SMALL_FILES:
        raise PrerlkitError(
            f"{folder} needs {needed / 2**30:.2f} GiB, and its disk has {free / 2**30:.2f} free; nothing was written.",
            "Free some space, or choose a folder on another disk with -o.",
        )


@contextmanager
def disk_advice(folder: Path) -> Iterator[None]:
    """Turn a full disk within the block into an error: nothing was left at `folder`, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PrerlkitError(
            f"The disk is full; nothing was left at {folder}.",
            "Free some space, or choose a folder on another disk with -o.",
        ) from error
