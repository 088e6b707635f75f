"""The layers on hosts of other kinds: an ordinary user, a container without namespaces, a Python in a private home."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prerlkit.errors import PrerlkitError, UsageError
from prerlkit.sandbox import Limits, choose, host, layers, run, seccomp
from prerlkit.sandbox.host import bwrap, tried
from prerlkit.sandbox.process import Guest

# What a fresh process on another kind of host says: the layer it would use, and whether a program runs in it.
ASK = """
from prerlkit.sandbox import Limits, choose, run
found = choose()
ran = run(found.layer, "print(6 * 7)", b"", Limits(), 10.0, found.bwrap)
print(found.layer, ran.stdout.decode().strip())
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def ask(command: list[str], checkout: Path, **options) -> str:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@as_root
def test_an_ordinary_user_gets_the_same_layer(checkout, system_python) -> None:
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    layer = next(name for name in ("bubblewrap", "landlock") if not tried(name))
    assert ask([system_python, "-c", ASK], checkout, **nobody) in (f"{layer} 42", "landlock 42")


@pytest.mark.parametrize("user", [0, 1000])
def test_a_container_that_forbids_namespaces_gets_landlock(user, checkout, system_python) -> None:
    if why := tried("bubblewrap") or tried("landlock"):
        pytest.skip(f"needs both layers: {why}")
    # In a user namespace that allows no further one, as root of a container that has no other user, or as its user.
    box = [bwrap(), "--unshare-user", "--disable-userns", "--uid", str(user), "--gid", str(user)]
    command = [*box, "--ro-bind", "/", "/", "--proc", "/proc", system_python, "-c", ASK]
    assert ask(command, checkout) == "landlock 42"


@as_root
def test_root_without_the_right_to_mount_gets_landlock(checkout, system_python) -> None:
    """As in most containers: root, all users, but no CAP_SYS_ADMIN."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or tried("landlock"):
        pytest.skip("needs setpriv and Landlock")
    command = [setpriv, "--bounding-set", "-sys_admin", "--inh-caps", "-all", system_python, "-c", ASK]
    assert ask(command, checkout) == "landlock 42"


def test_guests_run_as_nobody_when_root_starts_them(layer) -> None:
    ran = run(layer, "import os; print(os.getuid(), os.getgroups())", b"", Limits(), 5.0, bwrap())
    uid, groups = ran.stdout.decode().strip().split(" ", 1)
    assert uid != "0"
    if os.geteuid() == 0:
        assert int(uid) >= 60_000
        assert groups == "[]"


def test_threads_and_loops_of_events_work_inside(layer) -> None:
    source = """
import asyncio, threading, random, tempfile, zoneinfo, hashlib, bisect
threads = [threading.Thread(target=print, args=(n,)) for n in range(3)]
for thread in threads: thread.start(); thread.join()
async def main(): return await asyncio.gather(*[asyncio.sleep(0.01, n) for n in range(3)])
print(asyncio.run(main()))
"""
    ran = run(layer, source, b"", Limits(), 5.0, bwrap())
    assert ran.stdout.decode().split("\n") == ["0", "1", "2", "[0, 1, 2]", ""], ran


def test_text_and_the_order_of_sets_are_the_same_in_every_run(layer) -> None:
    source = "print(list({'é', '→', input()}), hash('a'))"
    first, second = (run(layer, source, "ü\n".encode(), Limits(), 5.0, bwrap()).stdout.decode() for _ in range(2))
    assert first == second
    assert {"é", "→", "ü"} <= set(first)


def test_bubblewrap_has_a_private_folder_of_limited_size() -> None:
    if why := tried("bubblewrap"):
        pytest.skip(why)
    source = """
import os
open('note', 'w').write('x'); print(os.getcwd(), open('/tmp/note').read())
free = os.statvfs('/tmp'); print(free.f_blocks * free.f_bsize)
"""
    for _ in range(2):  # and nothing of it is left for the next one
        ran = run("bubblewrap", f"import os; print(os.listdir('/tmp'))\n{source}", b"", Limits(), 5.0, bwrap())
        assert ran.stdout.decode().split("\n") == ["[]", "/tmp x", str(16 << 20), ""], ran


def test_a_program_reads_and_writes_more_than_a_pipe_holds(layer) -> None:
    source = "import sys; text = sys.stdin.read(); print(len(text)); print(text)"
    ran = run(layer, source, b"x" * 1_000_000, Limits(), 10.0, bwrap())
    assert ran.exit_code == 0
    assert ran.stdout == b"1000000\n" + b"x" * 1_000_000 + b"\n"
    ran = run(layer, "print('done')", b"x" * 1_000_000, Limits(), 10.0, bwrap())
    assert (ran.exit_code, ran.stdout) == (0, b"done\n")


def test_the_end_of_a_program_is_told(layer) -> None:
    assert run(layer, "raise SystemExit(3)", b"", Limits(), 5.0, bwrap()).exit_code == 3
    crashed = run(layer, "import ctypes; ctypes.string_at(0)", b"", Limits(), 5.0, bwrap())
    assert crashed.exit_code not in (0, None)
    slow = run(layer, "print('so far', flush=True)\nwhile True: pass", b"", Limits(), 0.5, bwrap())
    assert (slow.exit_code, slow.stdout, slow.stopped) == (None, b"so far\n", "ran longer than 0.5 s")
    flood = run(layer, "while True: print('x' * 999)", b"", Limits(output=100_000), 5.0, bwrap())
    assert flood.stopped == "wrote more than 100000 bytes"
    assert len(flood.stdout) < 300_000
    error = run(layer, "import sys\n1 / 0", b"", Limits(), 5.0, bwrap())
    assert error.stderr.decode().strip().splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_guest_that_is_ended_while_it_starts_leaves_nothing(layer, nothing_left) -> None:
    for delay in range(40):
        with Guest(layer, "judge", Limits(), bwrap=bwrap()):
            time.sleep(delay / 2000)


def test_a_living_guest_is_seen(layer, nothing_left) -> None:
    """Else the battery's "no guest is left" would say nothing."""
    with Guest(layer, "judge", Limits(), bwrap=bwrap()) as guest:
        guest.wait_ready()
        assert nothing_left() != []


def test_no_descriptor_is_lost(layer) -> None:
    run(layer, "", b"", Limits(), 5.0, bwrap())
    before = sorted(os.listdir("/proc/self/fd"))
    for source in ("print(1)", "while True: pass", "1 / 0"):
        run(layer, source, b"some input", Limits(), 0.3, bwrap())
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_of_the_filter_stays_inside_it(machine) -> None:
    for own in (None, 4242):
        program = list(struct.iter_unpack("=HBBI", seccomp.build(own, machine)))
        assert 150 < len(program) < 4096
        assert program[-1] == (0x06, 0, 0, 0x7FFF0000)
        for at, (code, true, false, _) in enumerate(program):
            if code & 0x07 == 0x05:
                assert at + 1 + max(true, false) < len(program)
        assert any(value == 4242 for *_, value in program) == (own is not None)


def test_the_choice_is_explained(monkeypatch) -> None:
    with pytest.raises(UsageError, match='no sandbox layer is called "docker"'):
        choose("docker")
    monkeypatch.setattr(host, "tried", lambda layer: f"no {layer} today")
    with pytest.raises(PrerlkitError, match=r"bubblewrap: no bubblewrap today; landlock: no landlock today"):
        choose()
    assert choose(unsandboxed=True).layer == "none"
    monkeypatch.setattr(host, "tried", lambda layer: "" if layer == "landlock" else "no")
    assert choose(unsandboxed=True).layer == "landlock"


def test_a_layer_that_does_not_hold_is_not_used(monkeypatch) -> None:
    """The probe tries ways out; here the layer is secretly none."""
    monkeypatch.setattr(host, "run", lambda layer, *rest: run("none", *rest))
    host.tried.cache_clear()
    try:
        if host.bwrap() is not None:
            assert "it doesn't hold: a program in it could open a host file" in tried("bubblewrap")
    finally:
        host.tried.cache_clear()
    assert not Path("/prerlkit-probe").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_landlock_is_asked_for_its_version() -> None:
    assert layers.abi() >= 0


@pytest.mark.parametrize("patch", ["_DENIED_WITHOUT_FOLDER", "_refuse_hidden_writes"])
def test_a_filter_without_its_newer_half_is_found_out(patch, monkeypatch) -> None:
    """The self-test tries what Landlock doesn't govern: the rights, times and size of files that the user owns."""
    if why := tried("landlock"):
        pytest.skip(why)
    monkeypatch.setattr(layers, "abi", lambda: 2)  # before Landlock governed `truncate`
    monkeypatch.setattr(layers, "can_change_user", lambda: False)
    monkeypatch.setattr(seccomp, patch, {} if patch.isupper() else lambda: [(0x06, 0, 0, 0x7FFF0000)])
    host.tried.cache_clear()
    try:
        assert "it doesn't hold: a program in it could " in tried("landlock")
    finally:
        host.tried.cache_clear()


def test_a_setuid_bubblewrap_is_no_layer_for_an_ordinary_user(tmp_path, monkeypatch) -> None:
    path = tmp_path / "bwrap"
    path.write_text("")
    path.chmod(0o4755)
    monkeypatch.setattr(host, "bwrap", lambda: str(path))
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    host.tried.cache_clear()
    try:
        assert "is setuid" in tried("bubblewrap")
    finally:
        host.tried.cache_clear()


def test_bubblewrap_shows_another_name_of_the_host() -> None:
    if why := tried("bubblewrap"):
        pytest.skip(why)
    assert (
        run("bubblewrap", "import os; print(os.uname().nodename)", b"", Limits(), 5.0, bwrap()).stdout == b"sandbox\n"
    )
