"""Writing files so that a killed process or a full disk never leaves half of one under its final name."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any

from safetensors import SafetensorError


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` to a temporary file next to `path`, sync it, and rename it into place.

    Another user who can write into the folder can't have it written to a file of theirs or of ours: the temporary name
    is random, and must be new.

    Args:
        mode: rights of the file, of which the process's umask is taken away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
    """Yield a temporary file that takes `path`'s place on success, and a function that leaves `path` as it is."""
    temporary = _temporary(path)
    discarded: list[bool] = []
    try:
        with temporary.open("xb") as file:
            yield file, lambda: discarded.append(True)
            file.flush()
            os.fsync(file.fileno())
        if not discarded:
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def keep_copy(path: Path) -> Path:
    """Keep the present content of `path` under another name, `<name>.damaged-<n>`, and return that."""
    copies = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    copy = next(name for name in copies if not os.path.lexists(name))  # a link to nothing is there too
    try:
        os.link(path, copy)  # no byte is written: the disk may be full
    except OSError:  # a disk without hard links
        with path.open("rb") as source, copy.open("xb") as target:
            shutil.copyfileobj(source, target)
    return copy


def open_regular(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file that is no link, pipe or device. What others put at its name would lead to another file, or block.

    Args:
        flags, mode: as of `os.open`.

    Raises:
        OSError: it can't be opened, or is something else than a file.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) and path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and links are not followed here", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return handle


def _temporary(path: Path) -> Path:
    """A name next to `path` that `is_leftover` knows, and no other user can know before."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}")


def is_inside(name: str) -> bool:
    """Return whether a relative path, which a file of others may hold, stays in its folder. Links are not looked at."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts


def stays_in(file: Path, folder: Path) -> bool:
    """Return whether a file is in a folder also when links are followed.

    A model in the Hub's cache is a folder of links to its blobs, which count as in it.
    """
    root = folder.resolve()
    places = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    return any(file.resolve().is_relative_to(place) for place in places)


def append_text(path: Path, text: str) -> None:
    """Add `text` at the end and sync it. When that fails, a full disk for instance, the file is as it was before."""
    with open(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
        before = file.tell()
        try:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), before)
            raise


def sync_folder(path: Path) -> None:
    """Make names that were given or taken in a folder outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_leftover(path: Path) -> bool:
    """Whether the name is one that `write_text` and `new_folder` use while they write."""
    return re.fullmatch(r"\..+\.\d+(-[0-9a-f]{16})?(\.old)?", path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Delete what `write_text` and `new_folder` of a killed process left behind in `folder`."""
    for path in folder.glob(".*"):
        if is_leftover(path):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; on success it takes `path`'s place, on failure nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    old = temporary.with_name(f"{temporary.name}.old")
    temporary.mkdir()
    try:
        with _disk_errors(path):
            yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        sync_folder(temporary)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Raise safetensors' error for a full disk as Python's."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
