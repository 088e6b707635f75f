"""The ways to isolate a guest: bubblewrap, or Landlock without any system package, or (on request) nothing.

bubblewrap  separate mount, pid, network, ipc and uts namespaces; a private folder of limited size; seccomp
landlock    the host's namespaces, but no file can be opened except Python's own, and none written; seccomp
none        limits of time and memory only: the code has all rights of its user
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from prerlkit.sandbox import interpreter, seccomp
from prerlkit.sandbox.guest.boot import OWN_PID
from prerlkit.sandbox.limits import Limits

Name = Literal["bubblewrap", "landlock", "none"]
NAMES: tuple[Name, ...] = ("bubblewrap", "landlock", "none")

GAPS: dict[Name, tuple[str, ...]] = {
    "bubblewrap": (
        "the kernel and the system's libraries are the host's; its load can be read",
        "packages installed into the base interpreter can be read",
    ),
    "landlock": (
        "names, sizes, times and link targets of host files can be asked for (stat), though no file can be opened",
        "no separate process ids: it can see which ids exist, and signal none",
        "the host's name can be read",
        "no private folder: the program can write no file at all",
        "run by an ordinary user, the number of threads is bounded by memory alone",
        "the kernel and the system's libraries are the host's",
        "packages installed into the base interpreter can be read",
    ),
    "none": ("no isolation: the code can read, write, send and start whatever this user can",),
}

_USERS = (0x7000_0000, 1 << 24)  # first and how many, where all user ids exist
_FEW_USERS = (61_184, 4_336)  # in a container; systemd takes its throw-away users from this range


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A layer that works here, and bubblewrap's path where it needs that."""

    layer: Name
    bwrap: str | None = None


@dataclass(frozen=True, slots=True)
class GuestLaunch:
    """How a guest is started: the command up to Python's arguments, its environment, and its own restrictions."""

    command: tuple[str, ...]
    environment: dict[str, str]
    config: dict[str, Any]


def launch(layer: Name, limits: Limits, bwrap: str | None = None, forks: bool = False) -> GuestLaunch:
    """Return how one guest is started in that layer.

    Args:
        forks: the guest itself runs nothing untrusted and forks processes that do. They get the filter of system calls;
            the guest gets none, as the filter denies forks.
    """
    root = can_change_user()
    config: dict[str, Any] = {
        "limits": limits.rlimits(),
        "uid": None,
        "landlock": 0,
        "readable": (),
        "group": None,
        "isolated": layer != "none",
        "seccomp": None,
        "child_seccomp": None,
        "private": None,
        "inodes": limits.inodes,
        "parent": 0,
    }
    threads = limits.threads + forks
    if layer == "none":
        python = interpreter.base()
        return GuestLaunch((python.executable,), python.environment, config)
    if root:
        config["uid"] = _unprivileged()
    bubblewrap = layer == "bubblewrap"
    # A pid namespace has no other process to signal, except the parent of forks.
    filters = seccomp.build(OWN_PID if forks or not bubblewrap else None, folder=bubblewrap)
    config["child_seccomp" if forks else "seccomp"] = filters
    if layer == "landlock":
        python = _interpreter(root, True)
        config["landlock"] = abi()
        config["readable"] = python.readable
        config["parent"] = os.getpid()
        if root:
            config["limits"]["NPROC"] = threads
        return GuestLaunch((python.executable,), python.environment, config)
    python = _interpreter(root, False)
    config["limits"]["NPROC"] = threads
    config["private"] = "/tmp"
    assert bwrap is not None
    command = (bwrap, *_namespaces(root), *_mounts(python, limits.disk), "--", python.executable)
    at = command.index("--clearenv") + 1
    for name, value in python.environment.items():
        command = (*command[:at], "--setenv", name, value, *command[at:])
    # Bubblewrap itself starts with no environment: inside, /proc/1/environ would be its own.
    return GuestLaunch(command, {}, config)


@lru_cache
def _interpreter(root: bool, reachable: bool) -> interpreter.Interpreter:
    """Return the guests' interpreter. Root's guests get another user, who must be able to read it."""
    return interpreter.for_everyone(reachable) if root else interpreter.base()


def _namespaces(root: bool) -> list[str]:
    flags = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    flags += ["--hostname", "sandbox"]
    # The guest gives its folder a limit of files, for which it needs this capability, and then drops them all.
    flags += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"]
    if root:  # no user namespace: the guest really changes its user, or the limit of processes wouldn't hold
        return [*flags, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*flags, "--unshare-user"]  # further ones are denied by seccomp; --disable-userns came with 0.8


def _mounts(python: interpreter.Interpreter, disk: int) -> list[str]:
    """Return the mounts: Python's files, three devices and a private /tmp, all else read-only; no /proc, no /sys."""
    arguments: list[str] = []
    made: set[str] = set()
    for path in sorted(python.readable, key=lambda path: path.count("/")):
        for folder in reversed(Path(path).parents[:-1]):  # bubblewrap would make them accessible to their owner only
            if str(folder) not in made and not any(str(folder).startswith(f"{other}/") for other in python.readable):
                arguments += ["--perms", "0755", "--dir", str(folder)]
                made.add(str(folder))
        if os.path.islink(path) and path in ("/lib", "/lib64"):
            arguments += ["--symlink", os.readlink(path), path]
        elif not any(path.startswith(f"{other}/") for other in python.readable):
            arguments += ["--ro-bind", path, path]
        made.add(path)
    arguments += ["--perms", "0755", "--dir", "/dev"]
    for device in ("null", "zero", "urandom"):
        # Read-only: a device can be written to all the same, but its rights can't be changed by its owner.
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}", "--remount-ro", f"/dev/{device}"]
    arguments += ["--perms", "1777", "--size", str(disk), "--tmpfs", "/tmp"]
    return [*arguments, "--remount-ro", "/", "--chdir", "/tmp"]


def _unprivileged() -> int:
    """Return a user id that nothing else on this host has, and no other guest: signals and limits go by user."""
    start, span = _USERS if _last_user() >= sum(_USERS) else _FEW_USERS
    return start + secrets.randbelow(span)


@lru_cache
def can_change_user() -> bool:
    """Return whether this is root with the right to become another user, and there are other users."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    return capabilities >> 6 & 0b11 == 0b11 and _last_user() >= sum(_FEW_USERS)  # CAP_SETGID, CAP_SETUID


def _last_user() -> int:
    """Return the highest user id that exists in this namespace."""
    lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    return max((int(first) + int(count) - 1 for first, _, count in map(str.split, lines)), default=0)


def abi() -> int:
    """Return the version of the kernel's Landlock; 0 where it has none or it is switched off."""
    import ctypes

    version = ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), 1)
    return max(0, int(version))
