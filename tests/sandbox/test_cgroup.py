"""Where this process may make cgroups, they limit what the limit of address space doesn't count."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prerlkit.sandbox import Limits, cgroup, process, run
from prerlkit.sandbox.host import bwrap
from prerlkit.sandbox.layers import GuestLaunch

LIMITS = Limits(memory=160 << 20)
# Each page lies in a table that holds nothing else: 4 KiB of address space take 12 KiB of memory.
PAGE_TABLES = """
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_size_t
libc.mmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_size_t]
for number in range(25_000):
    at = libc.mmap(0x100000000000 + (number << 31), 4096, 3, 0x22 | 0x100000, -1, 0)
    ctypes.memset(at, 1, 1)
print('escaped')
"""


def test_page_tables_count(layer, monkeypatch) -> None:
    if cgroup.groups() is None:
        pytest.skip("this process may not make cgroups")
    assert run(layer, PAGE_TABLES, b"", LIMITS, 20.0, bwrap()).exit_code == -9
    assert run(layer, "print(1)", b"", LIMITS, 20.0, bwrap()).stdout == b"1\n"
    monkeypatch.setattr(process, "groups", lambda: None)
    assert run(layer, PAGE_TABLES, b"", LIMITS, 20.0, bwrap()).stdout == b"escaped\n"


def test_a_group_is_used_again_and_removed_at_the_end() -> None:
    made = cgroup.groups()
    if made is None:
        pytest.skip("this process may not make cgroups")
    groups = cgroup.Groups(made._parent)
    first = groups.take(1 << 30)
    second = groups.take(1 << 30)
    assert first is not None
    assert second is not None
    assert first != second
    groups.give_back(first)
    assert groups.take(1 << 29) == first
    limit = next(first / name for name in cgroup._LIMITS if (first / name).exists())
    assert limit.read_text() == f"{1 << 29}\n"
    groups.remove()
    assert not first.exists()
    assert not second.exists()


@pytest.mark.parametrize(
    ("own", "files", "parent"),
    [
        ("0::/user/app/run.scope", {"user/app/cgroup.subtree_control": "cpu memory pids"}, "user/app"),
        ("0::/", {"cgroup.subtree_control": "memory"}, "."),
        ("0::/user/app/run.scope", {"user/app/cgroup.subtree_control": "pids"}, None),
        ("5:memory:/box\n0::/", {"memory/box/tasks": ""}, "memory/box"),
        ("", {}, None),
    ],
)
def test_the_folder_for_groups_is_found_in_both_versions(own, files, parent, tmp_path, monkeypatch) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(cgroup, "_MOUNT", tmp_path)
    monkeypatch.setattr(cgroup, "Path", lambda path: tmp_path / "own" if path == "/proc/self/cgroup" else Path(path))
    monkeypatch.setattr(cgroup, "_working", lambda folder: folder)
    assert cgroup.groups.__wrapped__() == (None if parent is None else tmp_path / parent)


def test_groups_of_killed_processes_are_swept_and_those_of_live_ones_stay(tmp_path) -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    killed = tmp_path / f"prerlkit-{ended.pid}-0123abcd"
    kept = [
        tmp_path / f"prerlkit-{os.getpid()}-0123abcd",
        tmp_path / f"prerlkit-{ended.pid}-notours",
        tmp_path / f"other-{ended.pid}-0123abcd",
        tmp_path / f"prerlkit-{ended.pid}-4567abcd",
    ]
    for folder in (killed, *kept):
        folder.mkdir()
    (kept[-1] / "held").mkdir()  # rmdir refuses it, as the kernel does for a group that still has a process
    cgroup._working(tmp_path)
    assert not killed.exists()
    assert all(folder.is_dir() for folder in kept)


class LastIsTaken(list):
    """A list whose last element another thread takes between a look at it and `pop`."""

    def __bool__(self) -> bool:
        return True


def test_another_thread_may_take_the_last_free_group(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cgroup, "_write_first", lambda *arguments: None)
    groups = cgroup.Groups(tmp_path)
    groups._free = LastIsTaken()
    assert groups.take(1 << 20) is not None


def test_no_two_threads_hold_one_group(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cgroup, "_write_first", lambda *arguments: None)
    groups = cgroup.Groups(tmp_path)
    held: set[Path] = set()

    def work(_: int) -> None:
        for _ in range(200):
            group = groups.take(1 << 20)
            assert group is not None
            assert group not in held
            held.add(group)
            held.discard(group)
            groups.give_back(group)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(list(tmp_path.iterdir())) <= 8


@pytest.mark.parametrize("fails", ["Popen", "cgroup.procs"])
def test_a_guest_that_cannot_start_gives_its_group_back(fails, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cgroup, "_write_first", lambda *arguments: None)
    groups = cgroup.Groups(tmp_path)
    if fails == "Popen":
        group = groups.take(1)
        assert group is not None
        (group / "cgroup.procs").touch()
        groups.give_back(group)

    monkeypatch.setattr(process, "groups", lambda: groups)
    monkeypatch.setattr(process, "launch", lambda *arguments: GuestLaunch(("/no/such/program",), {}, {}))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError, match="such/program" if fails == "Popen" else "cgroup.procs"):
        process.Guest("landlock", "judge", LIMITS)
    assert len(groups._free) == len(groups._made) == 1
    assert len(os.listdir("/proc/self/fd")) == before
