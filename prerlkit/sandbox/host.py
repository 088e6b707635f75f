"""Finds the sandbox layers that work on this host by trying them: a program in the layer must fail to get out."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.sandbox import seccomp
from prerlkit.sandbox.layers import Name, Sandbox, abi, can_change_user
from prerlkit.sandbox.limits import Limits
from prerlkit.sandbox.program import run

ACCEPT = "i_accept_that_untrusted_code_runs_unsandboxed"
INSTALL = "apt-get install -y bubblewrap   (Debian, Ubuntu; elsewhere: dnf, pacman or apk, same name)"
_LIMITS = Limits(memory=256 << 20, cpu=5)
# Tries each kind of way out that a layer promises to close, and prints those that worked.
_ATTEMPTS = """
import os
def attempt(name, way):
    try:
        way()
    except OSError:
        return
    print(name)
attempt("open a host file", lambda: os.open(HOST_FILE, os.O_RDONLY))
def write():
    os.close(os.open("/prerlkit-probe", os.O_WRONLY | os.O_CREAT))
    os.unlink("/prerlkit-probe")
attempt("write a host file", write)
attempt("change a host file's rights", lambda: os.chmod(FILE, 0o666))
attempt("change a host file's owner", lambda: os.chown(FILE, -1, os.getgid()))
attempt("change a host file's times", lambda: os.utime(FILE))
attempt("empty a host file", lambda: os.truncate(FILE, 0))
attempt("empty a host file without opening it to write", lambda: os.open(FILE, 3 | os.O_TRUNC))
attempt("read a host file's attributes", lambda: os.listxattr(FILE))
attempt("rename a host file", lambda: os.rename(FILE, FILE + "2"))
def network():
    import socket
    socket.socket()
attempt("make a socket", network)
def fork():
    if os.fork() == 0:
        os._exit(0)
attempt("fork", fork)
attempt("become root", lambda: os.setgroups([0]))
print("done")
"""


@dataclass(frozen=True, slots=True)
class Host:
    """Facts for a person to read. `works`: for each layer an empty text when it works, else the reason."""

    system: str
    bwrap: str | None
    bwrap_version: str
    user_namespaces: bool
    landlock_abi: int
    seccomp: bool
    root: bool
    guest_user: str
    works: dict[Name, str]


def bwrap() -> str | None:
    """Return the path of bubblewrap, from a PATH that holds at least the system's folders."""
    return shutil.which("bwrap", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/bin", "/usr/bin"]))


@lru_cache
def tried(layer: Name) -> str:
    """Return why a layer doesn't work here; empty when it does. Tried once per process, in about 50 ms."""
    if sys.platform != "linux":
        return f"needs Linux, not {platform.system()}"
    if layer == "none":
        return ""
    if not seccomp.supported():
        return f"the system calls of {platform.machine()} are not known here"
    path = bwrap()
    if layer == "bubblewrap" and path is None:
        return "bwrap is not installed"
    if layer == "landlock" and abi() == 0:
        return "the kernel has no Landlock, or it is switched off"
    if layer == "bubblewrap" and path is not None and os.geteuid() and os.stat(path).st_mode & stat.S_ISUID:
        return f"{path} is setuid, and then can't limit the number of files for an ordinary user"
    with _file_for_everyone() as file:
        source = _ATTEMPTS.replace("HOST_FILE", repr(str(Path(__file__).resolve()))).replace("FILE", repr(file))
        try:
            ran = run(layer, source, b"", _LIMITS, 10.0, path)
        except (PrerlkitError, OSError) as error:
            return (str(error).splitlines() or [type(error).__name__])[0] + _complaint(layer, path)
    lines = ran.stdout.decode(errors="replace").split("\n")
    if lines == ["done", ""]:
        return ""
    if "done" not in lines:
        return f"a program in it failed: {ran.stderr.decode(errors='replace')[-300:] or ran.stopped}"
    return "it doesn't hold: a program in it could " + ", ".join(lines[: lines.index("done")])


@contextmanager
def _file_for_everyone() -> Iterator[str]:
    """Yield the path of a file whose mode permits changes: only the layer can deny them."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="prerlkit-probe-")
    except OSError:  # nothing can be written here, and so nothing changed
        yield "/prerlkit-probe/file"
        return
    with folder:
        os.chmod(folder.name, 0o777)
        file = Path(folder.name, "file")
        file.write_text("here", encoding="utf-8")
        file.chmod(0o666)
        yield str(file)


def choose(layer: str = "auto", unsandboxed: bool = False) -> Sandbox:
    """Return the layer to use: the first that works, or the requested one.

    Args:
        layer: `auto`, `bubblewrap` or `landlock`.
        unsandboxed: where neither works, return the layer `none` instead of an error.

    Raises:
        PrerlkitError: none works. What to install or set is in the hint.
    """
    wanted: tuple[Name, ...] = ("bubblewrap", "landlock")
    if layer != "auto":
        wanted = tuple(name for name in wanted if name == layer)
        if not wanted:
            raise UsageError(f'no sandbox layer is called "{layer}"', "auto, bubblewrap or landlock.")
    reasons = []
    for name in wanted:
        if not (why := tried(name)):
            return Sandbox(name, bwrap() if name == "bubblewrap" else None)
        reasons.append(f"{name}: {why}")
    if unsandboxed:
        return Sandbox("none")
    raise PrerlkitError(
        "there is no sandbox for code that a model wrote (" + "; ".join(reasons) + ")",
        f"Install bubblewrap: {INSTALL}. `prerlkit doctor` says what this host offers. To run such code with all that "
        f"your user may do, on a machine that you can lose, set {ACCEPT}: true.",
    )


def look() -> Host:
    """Return the host's facts, and which layers work."""
    path = bwrap()
    linux = sys.platform == "linux"
    return Host(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        bwrap=path,
        bwrap_version=_output([path, "--version"]).removeprefix("bubblewrap ") if path else "",
        user_namespaces=linux and _can_unshare(),
        landlock_abi=abi() if linux else 0,
        seccomp=linux and seccomp.supported() and Path("/proc/sys/kernel/seccomp").is_dir(),
        root=os.geteuid() == 0,
        guest_user="a separate user each" if can_change_user() else "this user",
        works={name: tried(name) for name in ("bubblewrap", "landlock")},
    )


def _can_unshare() -> bool:
    """Return whether a user namespace can be made, tried in a separate process."""
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000) != 0)"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0


def _complaint(layer: Name, path: str | None) -> str:
    """Return bubblewrap's own error, where it can't start."""
    if layer != "bubblewrap" or path is None:
        return ""
    said = subprocess.run(
        [path, "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"],
        capture_output=True, text=True, check=False, env={},
    )  # fmt: skip
    return f" ({said.stderr.strip().splitlines()[-1]})" if said.stderr.strip() else ""


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
