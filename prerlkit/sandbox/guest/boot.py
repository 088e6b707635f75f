"""Shuts the door from inside, before any untrusted line is run: limits, Landlock, an unprivileged user, seccomp."""

from __future__ import annotations

import builtins
import os
import resource
import sys

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every machine
OWN_PID = 0x5E1F_5E1F  # stands for the guest's own process id in a filter; ids end at 2^22
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3


def confine(config: dict[str, Any]) -> None:
    """Apply what the host decided.

    Args:
        config: limits (name: value for `resource.RLIMIT_name`), uid (or None), landlock (its ABI, or 0) with the paths
            that may be read, seccomp (a filter, in which OWN_PID stands for this process, or None), parent (its id),
            child_seccomp (the filter of the processes that this one forks, or None; see `confine_child`).

    Raises:
        OSError: the kernel refuses something; nothing untrusted has run then.
    """
    threads = config["limits"].pop("NPROC", None)
    for name, value in config["limits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), value)
    libc = None
    if config["landlock"] or config["seccomp"] or config["child_seccomp"]:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        _checked(libc, libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if config["landlock"]:
        _landlock(libc, config["landlock"], config["readable"])
    if config["uid"] is not None:
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    if threads is not None:
        _limit(resource.RLIMIT_NPROC, threads)  # after the change of user: it counts per user
    os.environ.clear()
    os.umask(0o077)
    if config["parent"] and libc is not None:
        _checked(libc, libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))
        if os.getppid() != config["parent"]:
            os._exit(1)
    if config["seccomp"]:
        _seccomp(libc, config["seccomp"])
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # what `site` would have added, and programs use
    # Neither the host's paths nor the way in are the program's business.
    sys.argv[1:] = []
    sys.path[:] = [path for path in sys.path if path]


def confine_child(config: dict[str, Any], parent: int) -> None:
    """Shut in a fork of a process that `confine` was applied to: it ends with its parent, and gets the filter.

    Raises:
        OSError: the kernel refuses something; nothing untrusted has run then.
    """
    if not config["child_seccomp"]:
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc, libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)
    _seccomp(libc, config["child_seccomp"])


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _landlock(libc: Any, abi: int, readable: list[str]) -> None:
    """No file but what is readable (and /dev/null), no TCP, no signal or abstract socket to the outside."""
    import ctypes
    import struct

    handled = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    network = 0b11 if abi >= 4 else 0
    scopes = 0b11 if abi >= 6 else 0
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", handled, network, scopes), 24)
    ruleset = _checked(libc, libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0))
    for path in [*readable, os.devnull]:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if path == os.devnull:
            rights = _READ_FILE | _WRITE_FILE
        else:
            rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd), 12)
        _checked(libc, libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0))
        os.close(fd)
    _checked(libc, libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0))
    os.close(ruleset)


def _seccomp(libc: Any, program: bytes) -> None:
    import ctypes
    import struct

    own = os.getpid()
    program = program.replace(struct.pack("=I", OWN_PID), struct.pack("=I", own))
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    _checked(libc, libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0))


def _checked(libc: Any, result: int) -> int:
    import ctypes

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
