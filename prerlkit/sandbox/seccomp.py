"""A seccomp filter in plain bytes: no new processes, no sockets, none of the kernel's administrative corners.

The filter denies what is listed and lets the rest through, as an interpreter needs a few hundred calls; calls newer
than this table "don't exist" (ENOSYS). Forking is denied so that a limit of memory per process is a limit of the whole.
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
_CLONE, _CLONE3, _SOCKETPAIR, _PRCTL = (56, 220), (435, 435), (53, 199), (157, 167)
_SIGNALS = {"kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)}
_TKILL, _PRLIMIT, _FCNTL, _IOCTL = (200, 130), (302, 261), (72, 25), (16, 29)
# A file's owner is signalled when it has data, with any signal that he was given: the back door to `kill`.
_OWNER = {_FCNTL: (8, 15), _IOCTL: (0x8901, 0x8902, 0x5412)}  # F_SETOWN, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP, TIOCSTI
_NEWEST = 462  # mseal, Linux 6.10; what came later was not looked at

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_EQUAL, _GREATER, _ANY_BIT = 0x15, 0x25, 0x45  # BPF_JMP|{JEQ,JGT,JSET}|K
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data; the lower half of each argument
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_CLONE_THREAD, _AF_UNIX, _SOCK_STREAM, _PR_SET_PDEATHSIG = 0x10000, 1, 1, 1

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def supported() -> bool:
    """Whether the filter knows this machine's system calls."""
    return platform.machine() in _ARCHITECTURES


def build(own_pid: int | None = None, machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Args:
        own_pid: the only process that may be signalled. None: any, for use in a pid namespace of its own.
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
    numbers = [pair[column] for pair in _DENIED.values()]
    program += _when([n for n in numbers if n is not None], [(_RETURN, 0, 0, _EPERM)])
    # ENOSYS: its flags lie in memory, which a filter can't read; the C library then uses clone.
    program += _when([_CLONE3[column]], [(_RETURN, 0, 0, _ENOSYS)])
    program += _when([_CLONE[column]], [(_LOAD, 0, 0, _ARG0), (_ANY_BIT, 1, 0, _CLONE_THREAD), *_refuse_else_allow()])
    # A connected pair can reach nobody (a datagram one could): event loops wake themselves up with it.
    stream_pair = [
        (_LOAD, 0, 0, _ARG0), (_EQUAL, 0, 3, _AF_UNIX), (_LOAD, 0, 0, _ARG1), (_AND, 0, 0, 0xF),
        (_EQUAL, 1, 0, _SOCK_STREAM), *_refuse_else_allow(),
    ]  # fmt: skip
    program += _when([_SOCKETPAIR[column]], stream_pair)
    # Nobody unties himself from the process that will end him.
    program += _when(
        [_PRCTL[column]],
        [(_LOAD, 0, 0, _ARG0), (_EQUAL, 0, 1, _PR_SET_PDEATHSIG), *_refuse_else_allow()],
    )
    if own_pid is not None:
        program += _when([_TKILL[column]], [(_RETURN, 0, 0, _EPERM)])
        to_itself = [(_LOAD, 0, 0, _ARG0), (_EQUAL, 1, 0, own_pid), *_refuse_else_allow()]
        program += _when([pair[column] for pair in _SIGNALS.values()], to_itself)
        limits = [(_LOAD, 0, 0, _ARG0), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, own_pid), *_refuse_else_allow()]
        program += _when([_PRLIMIT[column]], limits)
        for call, commands in _OWNER.items():
            # Each comparison jumps to the refusal at the end; the last one past it.
            checks = [(_EQUAL, len(commands) - 1 - i, 0, command) for i, command in enumerate(commands[:-1])]
            last = [(_EQUAL, 0, 1, commands[-1])]
            program += _when([call[column]], [(_LOAD, 0, 0, _ARG1), *checks, *last, *_refuse_else_allow()])
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _refuse_else_allow() -> list[Instruction]:
    return [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]


def _when(numbers: list[int], then: list[Instruction]) -> list[Instruction]:
    """`then`, which ends in a return, for calls of these numbers. The number is loaded before and after."""
    return [
        instruction
        for number in numbers
        for instruction in ((_EQUAL, 0, len(then), number), *then)
    ]  # fmt: skip
