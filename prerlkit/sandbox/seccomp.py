"""A seccomp filter in plain bytes: no new processes, no sockets, no change of files' rights, no unbounded memory.

The filter denies the listed calls and allows all others, as an interpreter needs a few hundred. Calls that are newer
than this table "don't exist" (ENOSYS). Forking is denied: a memory limit per process then limits the whole guest.
"""

from __future__ import annotations

import platform
import struct

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # audit number, column of the tables

# name: number on x86-64, on aarch64 (None: not there)
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "ioprio_set": (251, 30),
    "move_pages": (279, 239), "migrate_pages": (256, 238), "mbind": (237, 235), "set_mempolicy": (238, 237),
    # network, and memory that no limit of address space counts
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "semop": (65, 193), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # memory that no limit counts: pages held by pipes, extended attributes, the host's pool of asynchronous requests
    "vmsplice": (278, 75), "splice": (275, 76), "tee": (276, 77), "sendfile": (40, 71),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "getxattr": (191, 8), "lgetxattr": (192, 9),
    "fgetxattr": (193, 10), "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "io_setup": (206, 0),
    # rules and filters that a guest adds are memory too: a ruleset holds a rule for each port
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
    "seccomp": (317, 277),
    # a program that `execve` starts is dumpable again; without a fork a guest starts no other program
    "execve": (59, 221), "execveat": (322, 281),
    # state of other processes: addresses, pages in memory, locks on files that all guests see, their processors
    "get_robust_list": (274, 100), "cachestat": (451, 451), "mincore": (27, 232), "fadvise64": (221, 223),
    "flock": (73, 32), "membarrier": (324, 283),
    # owners of files, and the rights of a file that was opened elsewhere, as stdin was
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "fchmod": (91, 52),
    "fchmodat2": (452, 452),
    # what happens to the host's files and disks
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "sync": (162, 81),
    "syncfs": (306, 267),
    # namespaces, mounts, files by handle
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "statmount": (457, 457), "listmount": (458, 458),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "lookup_dcookie": (212, 18), "syslog": (103, 116),
    "personality": (135, 92), "modify_ldt": (154, None), "ioperm": (173, None), "iopl": (172, None),
    "vhangup": (153, 58), "nfsservctl": (180, 42), "uselib": (134, None), "_sysctl": (156, None),
    "ustat": (136, None), "sysfs": (139, None),
}  # fmt: skip
# Landlock governs opening and making files alone. These need neither: they change any file that its user owns.
_DENIED_WITHOUT_FOLDER: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
}
_OPEN, _OPENAT, _OPENAT2 = (2, None), (257, 56), (437, 437)
# Flags that no layer treats as writing: truncating while reading, and the access mode for neither reading nor writing.
_ACCESS, _NEITHER, _TRUNCATE = 0o3, 0o3, 0o1000
_MMAP, _MAP_HUGETLB = (9, 222), 0x40000
_MADVISE, _HUGE_PAGES = (28, 233), (14, 25)  # MADV_HUGEPAGE, MADV_COLLAPSE
# A lease on a file makes its next reader wait; F_NOTIFY reports changes in a folder; a new pipe holds 64 KiB.
_FILE_COMMANDS = (1024, 1026, 1031)  # F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ
_LOCKS = (6, 7, 37, 38)  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
_CLONE, _CLONE3, _SOCKETPAIR, _PRCTL = (56, 220), (435, 435), (53, 199), (157, 167)
_SIGNALS = {"kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)}
_TKILL, _PRLIMIT, _FCNTL, _IOCTL = (200, 130), (302, 261), (72, 25), (16, 29)
# All that Python asks of a file: is it a terminal, how wide, how much is there, blocking, open after exec. Others
# change flags, versions and projects of files that are only open to read, or tell where on the disk they lie.
_FILE_QUESTIONS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
# A negative clock is a process's: of any process, whoever asks.
_CLOCKS = {"clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
           "timer_create": (222, 107)}  # fmt: skip
_OF_A_PROCESS = 0x80000000
# A file's owner is signalled when it has data, with any chosen signal: this works like `kill`.
_OWNER = (8, 15)  # F_SETOWN, F_SETOWN_EX
_NEWEST = 462  # mseal, Linux 6.10; later calls have not been reviewed

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _GREATER, _ANY_BIT = 0x15, 0x25, 0x45  # BPF_JMP|{JEQ,JGT,JSET}|K
_NR, _ARCH, _ARG0, _ARG1, _ARG2, _ARG3 = (
    0,
    4,
    16,
    24,
    32,
    40,
)  # offsets in struct seccomp_data; the lower half of each argument
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_CLONE_THREAD, _AF_UNIX, _SOCK_STREAM = 0x10000, 1, 1
# A guest may not detach itself from the process that ends it, send a core to the host's handler, add filters, or
# reserve a processor core.
_SELF = (1, 4, 22, 62)  # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SCHED_CORE

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def supported() -> bool:
    """Return whether the filter knows this machine's system calls."""
    return platform.machine() in _ARCHITECTURES


def build(own_pid: int | None = None, folder: bool = True, machine: str | None = None) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    Args:
        own_pid: the only process that may be signalled. None: any, for use in a separate pid namespace.
        folder: the guest has a private folder, in which it may change files, and every other file is read-only.
        machine: `x86_64` or `aarch64`; by default this one.
    """
    audit, column = _ARCHITECTURES[machine or platform.machine()]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        (_GREATER, 0, 1, _NEWEST),  # also all of x86-64's second numbering ("x32")
        (_RETURN, 0, 0, _ENOSYS),
    ]
    denied = [*_DENIED.values(), *(() if folder else _DENIED_WITHOUT_FOLDER.values())]
    program += _when([pair[column] for pair in denied], [(_RETURN, 0, 0, _EPERM)])
    # ENOSYS: their flags lie in memory, which a filter can't read; the C library then uses clone and openat.
    program += _when([_CLONE3[column], _OPENAT2[column]], [(_RETURN, 0, 0, _ENOSYS)])
    program += _when([_CLONE[column]], [(_LOAD, 0, 0, _ARG0), (_ANY_BIT, 1, 0, _CLONE_THREAD), *_refuse_else_allow()])
    # A connected pair can reach no other process (a datagram pair could): event loops wake themselves up with it.
    stream_pair = [
        (_LOAD, 0, 0, _ARG0), (_EQUAL, 0, 3, _AF_UNIX), (_LOAD, 0, 0, _ARG1), (_AND, 0, 0, 0xF),
        (_EQUAL, 1, 0, _SOCK_STREAM), *_refuse_else_allow(),
    ]  # fmt: skip
    program += _when([_SOCKETPAIR[column]], stream_pair)
    program += _when([_PRCTL[column]], [(_LOAD, 0, 0, _ARG0), *_refuse_any(*_SELF)])
    program += _when([_IOCTL[column]], [(_LOAD, 0, 0, _ARG1), *_allow_any(*_FILE_QUESTIONS)])
    clocks = [(_LOAD, 0, 0, _ARG0), (_ANY_BIT, 0, 1, _OF_A_PROCESS), *_refuse_else_allow()]
    program += _when([pair[column] for pair in _CLOCKS.values()], clocks)
    program += _when([_MADVISE[column]], [(_LOAD, 0, 0, _ARG2), *_refuse_any(*_HUGE_PAGES)])
    program += _when(
        [_MMAP[column]], [(_LOAD, 0, 0, _ARG3), (_ANY_BIT, 0, 1, _MAP_HUGETLB), *_refuse_else_allow()]
    )  # fmt: skip
    if not folder:
        for call, flags in ((_OPEN, _ARG1), (_OPENAT, _ARG2)):
            program += _when([call[column]], [(_LOAD, 0, 0, flags), *_refuse_hidden_writes()])
    program += _own_processes(own_pid, column)
    commands = _FILE_COMMANDS + (_OWNER if own_pid is not None else ()) + (() if folder else _LOCKS)
    program += _when([_FCNTL[column]], [(_LOAD, 0, 0, _ARG1), *_refuse_any(*commands)])
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _own_processes(own_pid: int | None, column: int) -> list[Instruction]:
    """Restrict what a guest may do to processes, with `own_pid` to itself alone."""
    if own_pid is None:
        return []
    program = _when([_TKILL[column]], [(_RETURN, 0, 0, _EPERM)])
    to_itself = [(_LOAD, 0, 0, _ARG0), (_EQUAL, 1, 0, own_pid), *_refuse_else_allow()]
    program += _when([pair[column] for pair in _SIGNALS.values()], to_itself)
    limits = [(_LOAD, 0, 0, _ARG0), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, own_pid), *_refuse_else_allow()]
    return program + _when([_PRLIMIT[column]], limits)


def _refuse_else_allow() -> list[Instruction]:
    return [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]


def _refuse_any(*values: int) -> list[Instruction]:
    """Refuse when the loaded argument is one of these values; allow otherwise."""
    # Each comparison jumps to the refusal at the end; the last one past it.
    checks = [(_EQUAL, len(values) - 1 - i, 0, value) for i, value in enumerate(values[:-1])]
    return [*checks, (_EQUAL, 0, 1, values[-1]), *_refuse_else_allow()]


def _allow_any(*values: int) -> list[Instruction]:
    """Allow when the loaded argument is one of these values; refuse otherwise."""
    checks = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*checks, *_refuse_else_allow()]


def _refuse_hidden_writes() -> list[Instruction]:
    """Refuse flags of `open` that change a file, or hold it, without opening it to write."""
    return [
        (_AND, 0, 0, _ACCESS | _TRUNCATE),
        (_EQUAL, 3, 0, _TRUNCATE), (_EQUAL, 2, 0, _NEITHER), (_EQUAL, 1, 0, _NEITHER | _TRUNCATE),
        (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM),
    ]  # fmt: skip


def _when(numbers: list[int | None], then: list[Instruction]) -> list[Instruction]:
    """Return `then`, which ends in a return, for calls of these numbers. The number is loaded before and after."""
    return [
        instruction
        for number in numbers
        if number is not None
        for instruction in ((_EQUAL, 0, len(then), number), *then)
    ]  # fmt: skip
