"""checksums.json: the SHA-256 of what a run publishes. It is checked whenever a policy is read from the run.

An entry is written right after its file. Checkpoints have the same in their own folders. Checksums find what a disk or
an accident did; they are no signature.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable
from pathlib import Path

from prerlkit.errors import PrerlkitError
from prerlkit.files import is_inside, write_json
from prerlkit.runs.files import RunFiles, resume_command
from prerlkit.runs.jsonl import read_json


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises FileNotFoundError for a pipe or a device: it has no end."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add(files: RunFiles, place: Path) -> None:
    """Write down the checksum of a file, or of each file in a folder, that the run has just published."""
    listed = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    name = place.relative_to(files.path).as_posix()
    others = {key: value for key, value in _read(files).items() if key != name and not key.startswith(f"{name}/")}
    sums = {**others, **{path.relative_to(files.path).as_posix(): sha256(path) for path in listed}}
    write_json(files.checksums, {"version": 1, "sha256": dict(sorted(sums.items()))})


def check(files: RunFiles, places: Iterable[Path]) -> None:
    """Check files of a run, and all that it published in folders. What has no checksum passes (earlier versions).

    Raises:
        PrerlkitError: a file is missing, or is not what the run wrote.
    """
    sums = {files.path / name: expected for name, expected in _read(files).items()}
    for place in places:
        for path in (path for path in sums if path.is_relative_to(place)):
            if wrong := _wrong(path, sums[path]):
                raise PrerlkitError(
                    f"{path} {wrong}.",
                    "Restore it from a copy. Where recipe and last checkpoint are whole, "
                    f"`{resume_command(files.path)}` writes the adapters again.",
                )


def _wrong(path: Path, expected: str) -> str:
    try:
        return "" if sha256(path) == expected else "is not what the run wrote (its SHA-256 differs)"
    except FileNotFoundError:
        return "is missing"


def _read(files: RunFiles) -> dict[str, str]:
    sums = read_json(files.checksums).get("sha256", {})
    found = {str(name): str(value) for name, value in sums.items()} if isinstance(sums, dict) else {}
    if outside := [name for name in found if not is_inside(name)]:
        raise PrerlkitError(
            f"{files.checksums} names {outside[0][:100]}, which is not in the folder.", "Restore it from a copy."
        )
    return found


def note(files: RunFiles) -> str:
    """Return a sentence about a run whose files can't be checked; "" where they can."""
    if files.checksums.is_file():
        return ""
    return f"{files.path} has no {files.checksums.name} (an earlier version wrote it): its files are used unchecked"
