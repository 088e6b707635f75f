"""Confines the guest from inside before untrusted code runs: limits, Landlock, an unprivileged user, seccomp."""

from __future__ import annotations

import builtins
import os
import resource
import sys

from prerlkit.sandbox.guest.libc import address, buffer, call

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any

_PR_SET_DUMPABLE = 4
_PR_SET_PDEATHSIG, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 1, 21, 22, 38, 39
_SECCOMP_FILTER = 2
_REMOUNT = 32 | 2 | 4  # MS_REMOUNT, MS_NOSUID, MS_NODEV
_CAPABILITY_HEADER = 0x2008_0522.to_bytes(4, sys.byteorder) + bytes(4)  # version 3, this process
_SIGKILL = 9
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every machine
OWN_PID = 0x5E1F_5E1F  # placeholder for the guest's process id in a filter; ids end at 2^22
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3


def confine(config: dict[str, Any]) -> None:
    """Apply what the host decided.

    Args:
        config: group (a descriptor that moves this process into its cgroup, or None), limits (name: value for
            `resource.RLIMIT_name`), isolated (False for the layer `none`), private (a folder that gets a limit of
            `inodes`, or None), uid (or None), landlock (its ABI, or 0) with the paths that may be read, seccomp (a
            filter, where OWN_PID is replaced by this process's id, or None), parent (its id), child_seccomp (for
            the processes that this one forks, or None; see `confine_child`).

    Raises:
        OSError: the kernel refuses something; nothing untrusted has run then.
    """
    if config["group"] is not None:
        os.write(config["group"], b"0")
        os.close(config["group"])
    threads = config["limits"].pop("NPROC", None)
    for name, value in config["limits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), value)
    if config["private"]:
        _limit_inodes(config["private"], config["inodes"])
    if config["isolated"]:
        call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if config["landlock"]:
        _landlock(config["landlock"], config["readable"])
    if config["uid"] is not None:
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    if config["isolated"]:
        _drop_capabilities()
        # No core: a limit of 0 bytes doesn't keep the kernel from starting the host's handler of cores.
        call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    if threads is not None:
        _limit(resource.RLIMIT_NPROC, threads)  # after the change of user: it counts per user
    os.environ.clear()
    os.umask(0o077)
    if config["parent"]:
        call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if os.getppid() != config["parent"]:
            os._exit(1)
    if config["seccomp"]:
        _seccomp(config["seccomp"])
    if config["isolated"]:
        _verify(bool(config["seccomp"]))
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # what `site` would have added, and programs use
    # Neither the host's paths nor the way in are the program's business.
    sys.argv[1:] = []
    sys.path[:] = [path for path in sys.path if path]


def confine_child(config: dict[str, Any], parent: int) -> None:
    """Confine a fork of a process that `confine` was applied to: the fork ends with its parent and gets the filter.

    Raises:
        OSError: the kernel refuses something; nothing untrusted has run then.
    """
    if not config["child_seccomp"]:
        return
    call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    _seccomp(config["child_seccomp"])
    _verify(True)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _limit_inodes(folder: str, inodes: int) -> None:
    """Limit the number of files in a memory file system: each takes a kilobyte that the size limit doesn't count."""
    call("mount", b"tmpfs\0", folder.encode() + b"\0", b"tmpfs\0", _REMOUNT, f"nr_inodes={inodes}\0".encode())


def _drop_capabilities() -> None:
    """Give up every capability. Root still has them in a container that has no other user to become."""
    call("capset", buffer(_CAPABILITY_HEADER), bytes(24))


def _verify(filtered: bool) -> None:
    """Check that the kernel applied the restrictions, before untrusted code runs.

    Raises:
        OSError: a capability is left, privileges could be gained, or no filter is there.
    """
    capabilities = buffer(bytes(24))
    call("capget", buffer(_CAPABILITY_HEADER), capabilities)
    if bytes(capabilities) != bytes(24):
        raise OSError("a sandbox still has capabilities")
    if call("prctl", _PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        raise OSError("a sandbox could gain privileges")
    if filtered and call("prctl", _PR_GET_SECCOMP, 0, 0, 0, 0) != _SECCOMP_FILTER:
        raise OSError("a sandbox has no filter of system calls")


def _landlock(abi: int, readable: list[str]) -> None:
    """Allow only readable files and /dev/null: no TCP, and no signal or abstract socket to the outside."""
    handled = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    network = 0b11 if abi >= 4 else 0
    scopes = 0b11 if abi >= 6 else 0
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    attributes = b"".join(value.to_bytes(8, sys.byteorder) for value in (handled, network, scopes))
    ruleset = call("syscall", _LANDLOCK_CREATE, attributes, size, 0)
    for path in [*readable, os.devnull]:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if path == os.devnull:
            rights = _READ_FILE | _WRITE_FILE
        else:
            rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        rule = rights.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder)
        call("syscall", _LANDLOCK_ADD, ruleset, 1, rule, 0)
        os.close(fd)
    call("syscall", _LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _seccomp(program: bytes) -> None:
    stand_in, own = (number.to_bytes(4, sys.byteorder) for number in (OWN_PID, os.getpid()))
    code = buffer(program.replace(stand_in, own))
    # struct sock_fprog: how many instructions, in 2 bytes padded to 8, and where they lie.
    header = (len(program) // 8).to_bytes(2, sys.byteorder).ljust(8, b"\0")
    call("prctl", _PR_SET_SECCOMP, 2, header + address(code).to_bytes(8, sys.byteorder), 0, 0)
