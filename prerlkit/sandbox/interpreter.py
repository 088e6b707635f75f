"""Finds a Python that the sandbox can read: the base interpreter and its standard library, never the environment's.

A virtual environment often points to an interpreter under a private home, which an unprivileged user can't reach. Then
a copy of the interpreter and its standard library is made once, in the temporary folder, and kept for the next run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from prerlkit.errors import PrerlkitError

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")  # the C library and what extension modules link to
_LEFT_OUT = ("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip",
             "lib2to3", "distutils", "config-*", "*.opt-*.pyc", "*.a")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An executable, the paths that it needs to read (files and folders), and where its own shared library is."""

    executable: str
    readable: tuple[str, ...]
    library_path: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """All that is set when it starts; the guest clears it before anything untrusted runs.

        The same hash order in every run, on which the order of a set depends.
        """
        library = {} if self.library_path is None else {"LD_LIBRARY_PATH": self.library_path}
        return {"PYTHONHASHSEED": "0", **library}


def base() -> Interpreter:
    """Return the interpreter below this process's environment, at its original path."""
    executable = os.path.realpath(sys._base_executable or sys.executable)  # type: ignore[attr-defined]
    prefix = Path(sys.base_prefix)
    stdlib = sysconfig.get_path("stdlib")
    # libpython is next to the library of a Python outside /usr; inside /usr that is a system folder anyway.
    libraries = [str(stdlib) if prefix == Path("/usr") else str(prefix / "lib")]
    # Its dynamic modules may be in lib64.
    libraries += [str(path) for path in (prefix / "lib64",) if path.is_dir() and not path.is_symlink()]
    paths = [executable, *libraries, *_SYSTEM, "/etc/ld.so.cache"]
    return Interpreter(executable, tuple(dict.fromkeys(path for path in paths if os.path.exists(path))))


def for_everyone(reachable: bool) -> Interpreter:
    """Return an interpreter that any user can read: the base one, or a copy.

    Args:
        reachable: also the folders above it must let everyone pass (False where it is mounted elsewhere).
    """
    found = base()
    if all(_open_to_all(Path(path), reachable) for path in found.readable if path not in _SYSTEM):
        return found
    return _copy(found)


def _open_to_all(path: Path, reachable: bool) -> bool:
    """Decide by file modes. For a library folder: its own mode and those of the standard library's first files."""
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    probes = [path, *sorted(path.glob("python3.*/os.py"))] if path.is_dir() else [path]
    if any(probe.stat().st_mode & (wanted if probe == path else stat.S_IROTH) == 0 for probe in probes):
        return False
    return not reachable or all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _copy(found: Interpreter) -> Interpreter:
    """Return a copy that every user may read and only its owner may change. About 80 MB, made in about a second."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    identity = f"{found.executable} {os.stat(found.executable).st_mtime_ns} {sys.version}"
    name = f"prerlkit-python-{version}-{os.geteuid()}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    folder = _public_folder()
    target = _made(folder, name) or _make(folder, name, found)
    executable, libraries = str(target / "bin" / f"python{version}"), str(target / "lib")
    shared = [path for path in (*_SYSTEM, "/etc/ld.so.cache") if os.path.exists(path)]
    return Interpreter(executable, (executable, libraries, *shared), libraries)


def _made(folder: Path, name: str) -> Path | None:
    """Return a whole copy that this user made before. Its name is plain, unless another user's folder has that name."""
    return next((path for path in [folder / name, *sorted(folder.glob(f"{name}.*"))] if _ours(path)), None)


def _make(folder: Path, name: str, found: Interpreter) -> Path:
    """Make the copy under a random name, and give it its name when it is whole.

    Raises:
        OSError: it can't be written.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    fresh = Path(tempfile.mkdtemp(prefix=".prerlkit-python-", dir=folder))
    try:
        (fresh / "bin").mkdir()
        shutil.copy2(found.executable, fresh / "bin" / version)
        ignore = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(sysconfig.get_path("stdlib"), fresh / "lib" / version, ignore=ignore)
        for library in Path(sys.base_prefix, "lib").glob("libpython*.so*"):
            shutil.copy2(library, fresh / "lib" / library.name, follow_symlinks=False)
        _open_up(fresh)
        target = folder / name
        with contextlib.suppress(OSError):  # another worker was faster, or another user's folder has that name
            return fresh.rename(target)
        return _made(folder, name) or fresh.rename(folder / f"{name}.{secrets.token_hex(8)}")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _public_folder() -> Path:
    """Return the temporary folder, or the system's where others can't reach it or could exchange its files.

    Raises:
        PrerlkitError: there is none.
    """
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp")):
        if folder.is_dir() and all(_keeps(place) for place in (folder.resolve(), *folder.resolve().parents)):
            return folder.resolve()
    raise PrerlkitError(
        "there is no folder for a copy of Python that every user can read and only its owner can exchange",
        "Make /tmp as usual (root's, mode 1777), or use a Python that is outside of private folders.",
    )


def _keeps(folder: Path) -> bool:
    """Return whether others can pass through a folder and can't rename this user's files in it."""
    found = folder.stat()
    safe = found.st_uid in (0, os.geteuid()) and (not found.st_mode & 0o022 or bool(found.st_mode & stat.S_ISVTX))
    return safe and bool(found.st_mode & stat.S_IXOTH)


def _ours(path: Path) -> bool:
    """Return whether only this user can have made or changed the folder."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _open_up(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
