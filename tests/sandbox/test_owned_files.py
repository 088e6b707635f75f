"""Programs that change what their own user owns, or take memory that no limit counts, on three kinds of hosts.

An ordinary user's guests are that user on the host, so nothing but the layer keeps them from the user's files. The same
holds for root in a container that has no other user. Each program prints "escaped" when it got what it wanted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from prerlkit.sandbox.host import tried

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

ATTACKS = {
    # files that the user owns, which need not be opened
    "chmod": "os.chmod(KEY, 0o777); yes()",
    "chmod by a descriptor": "os.chmod(0, 0o777); yes()",
    "chmod without opening": "os.chmod(os.open(KEY, os.O_PATH), 0o777); yes()",
    "chmod by the newest call": "call(452, -100, KEY.encode(), 0o777, 0) == 0 and yes()",
    "chmod of the folder": "os.chmod(FOLDER, 0); yes()",
    "chmod of a device": "os.chmod('/dev/null', 0o666); yes()",
    "chmod of a device by a descriptor": "os.fchmod(os.open('/dev/null', os.O_RDWR), 0o666); yes()",
    "chown to a group": "os.chown(KEY, -1, os.getgid()); yes()",
    "chown of a link": "os.lchown(KEY, -1, os.getgid()); yes()",
    "chown by a descriptor": "os.fchown(0, -1, os.getgid()); yes()",
    "utime": "os.utime(KEY, (1, 1)); yes()",
    "utime, to now": "os.utime(KEY); yes()",
    "setxattr": "os.setxattr(KEY, 'user.mark', b'x'); yes()",
    "getxattr": "os.getxattr(MARKED, 'user.mark'); yes()",
    "listxattr": "os.listxattr(MARKED) and yes()",
    "removexattr": "os.removexattr(MARKED, 'user.mark'); yes()",
    "truncate": "os.truncate(KEY, 0); yes()",
    "open to read and truncate": "os.open(KEY, os.O_RDONLY | os.O_TRUNC); yes()",
    "truncate the standard library": "os.open(COPY, os.O_RDONLY | os.O_TRUNC); yes()",
    "open for neither": "os.open(KEY, 3); yes()",
    "open for neither, and truncate": "os.open(KEY, 3 | os.O_TRUNC); yes()",
    "open by the newest call": """
how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_TRUNC, 0, 0)
call(437, -100, KEY.encode(), how, 24) >= 0 and yes()""",
    "rename": "os.rename(KEY, KEY + '2'); yes()",
    "unlink": "os.unlink(KEY); yes()",
    "lease on a file": "fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), 1024, 0); yes()",
    "watch a folder": """
watch = libc.inotify_init()
libc.inotify_add_watch(watch, FOLDER.encode(), 0xfff) >= 0 and yes()""",
    "notes of a folder": "fcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), 1026, 0x80000002); yes()",
    "a capability": """
data = (ctypes.c_uint32 * 6)()
libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), data) == 0 and any(data) and yes()""",
    "privileges by another program": "libc.prctl(39, 0, 0, 0, 0) == 1 or yes()",
    "root's right to pass": "os.listdir(LOCKED); yes()",
    "the lease of a device": "fcntl.fcntl(os.open('/dev/null', os.O_RDONLY), 1024, 0); yes()",
    # questions about files that may be read, with answers that change them or tell about others
    "flags of a file": """
file, flags = os.open(os.__file__, os.O_RDONLY), bytearray(8)
fcntl.ioctl(file, 0x80086601, flags); fcntl.ioctl(file, 0x40086602, bytes(flags)); yes()""",
    "version of a file": """
file, version = os.open(os.__file__, os.O_RDONLY), bytearray(8)
fcntl.ioctl(file, 0x80087601, version); fcntl.ioctl(file, 0x40087602, bytes(version)); yes()""",
    "project of a file": """
file, project = os.open(os.__file__, os.O_RDONLY), bytearray(28)
fcntl.ioctl(file, 0x801c581f, project); fcntl.ioctl(file, 0x401c5820, bytes(project)); yes()""",
    "a lock that all guests see": "fcntl.flock(os.open(os.__file__, 0), fcntl.LOCK_EX | fcntl.LOCK_NB); yes()",
    "a file dropped from memory": "os.posix_fadvise(os.open(os.__file__, os.O_RDONLY), 0, 0, 4); yes()",
    "a file's pages in memory": """
file = os.open(os.__file__, os.O_RDONLY)
call(451, file, (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)(), 0) == 0 and yes()""",
    # the host's other processes
    "a core for the host's handler": "(libc.prctl(3, 0, 0, 0, 0) or libc.prctl(4, 1, 0, 0, 0) == 0) and yes()",
    "a new start with a core": "os.execve(sys.executable, ['python', '-c', 'print(\"escaped\")'], {})",
    "processor time of the parent": "time.clock_gettime(~os.getppid() << 3 | 2); yes()",
    "where the parent holds locks": """
head, size = ctypes.c_void_p(), ctypes.c_size_t()
call(274, os.getppid(), ctypes.byref(head), ctypes.byref(size)) == 0 and yes()""",
    "a processor core alone": "libc.prctl(62, 1, 0, 0, 0) == 0 and yes()",
    "interrupts for other processors": "call(324, 2, 0, 0) == 0 and yes()",
    # memory that the limit of address space doesn't count
    "pages held by a pipe": """
import mmap
r, w = os.pipe()
page = mmap.mmap(-1, 4096); page[0] = 1
vector = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.c_char.from_buffer(page)), 4096)
libc.vmsplice(w, vector, 1, 0) > 0 and yes()""",
    "pages moved and doubled between pipes": """
a, b = os.pipe(), os.pipe()
os.write(a[1], b'x')
(libc.tee(a[0], b[1], 1, 0) > 0 or libc.splice(a[0], None, b[1], None, 1, 0) > 0) and yes()""",
    "a file's pages in a pipe": "os.sendfile(os.pipe()[1], os.open(os.__file__, os.O_RDONLY), 0, 4096); yes()",
    "a large pipe": "fcntl.fcntl(os.pipe()[1], 1031, 1 << 20); yes()",
    "huge pages": "import mmap\nmmap.mmap(-1, 4 << 20).madvise(14); yes()",
    "huge pages of the host's": """
import mmap
mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000); yes()""",
    "extended attributes as memory": "open('/tmp/f', 'w'); os.setxattr('/tmp/f', 'user.x', bytes(1 << 15)); yes()",
    "a hundred thousand files": """
for number in range(100_000): os.close(os.open(f'/tmp/{number}', os.O_CREAT))
yes()""",
    "a thousand links": "for number in range(2000): os.symlink('x' * 4000, f'/tmp/{number}')\nyes()",
    "timers": """
timer = ctypes.c_void_p()
started = sum(libc.timer_create(0, None, ctypes.byref(timer)) == 0 for _ in range(100_000))
started > 1000 and yes()""",
    "descriptors in flight": """
import array, socket
sent, kept = 0, []
try:
    while True:
        kept.append(socket.socketpair())
        for _ in range(20):
            ends = os.pipe()
            data = array.array('i', ends)
            kept[-1][0].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)])
            os.close(ends[0]); os.close(ends[1])
            sent += 1
except OSError: pass
sent > 300 and yes()""",
    "queued signals": """
libc.signal(40, ctypes.c_void_p(1))
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
sum(libc.sigqueue(os.getpid(), 40, ctypes.c_void_p(1)) == 0 for _ in range(5000)) > 1000 and yes()""",
    "rules of Landlock as memory": "call(444, (ctypes.c_uint64 * 3)(1, 0, 0), 8, 0) >= 0 and yes()",
    "filters as memory": """
code = ctypes.create_string_buffer(bytes.fromhex('060000000000ff7f'))
filters = (ctypes.c_size_t * 2)(1, ctypes.addressof(code))
(libc.prctl(22, 2, filters, 0, 0) == 0 or call(317, 1, 0, filters) == 0) and yes()""",
    "asynchronous requests": "call(206, 60_000, ctypes.byref(ctypes.c_ulong())) == 0 and yes()",
}  # fmt: skip
HEAD = """
import ctypes, fcntl, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
call = libc.syscall
def yes(): print('escaped'); sys.exit()
"""
# Runs every program in one layer and prints which got what they wanted, or could not be run.
HOST = """
import json, sys
from pathlib import Path
from prerlkit.sandbox import Limits, host, layers, run
layer, abi = sys.argv[1], int(sys.argv[2])
if abi:
    layers.abi = lambda: abi
programs = json.load(sys.stdin)
if why := host.tried(layer):
    print(json.dumps({"the layer": why}))
    sys.exit()
wrong = {}
for name, source in programs.items():
    ran = run(layer, source, b"", Limits(cpu=5), 10.0, host.bwrap())
    if b"escaped" in ran.stdout or ran.exit_code not in (0, 1) or b"SyntaxError" in ran.stderr:
        wrong[name] = str(ran)
print(json.dumps(wrong))
"""
ALONE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
]  # a user namespace with no user but root, and all its rights


@pytest.fixture
def owned(checkout, request) -> Path:
    """A folder of the host's user with files that are nobody else's business."""
    folder = checkout / "home"
    folder.mkdir()
    for name in ("key", "marked", "copy"):
        (folder / name).write_text("secret")
        (folder / name).chmod(0o600)
    os.setxattr(folder / "marked", "user.mark", b"x")
    (folder / "locked").mkdir(0o000)
    user = 65534 if request.node.callspec.params["kind"] == "user" else os.getuid()
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, user)
    return folder


def state(folder: Path) -> list[tuple[object, ...]]:
    found = [(path, path.stat()) for path in sorted([folder, *folder.iterdir()])]
    return [(str(p), s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in found]


@as_root
@pytest.mark.parametrize("layer", ["bubblewrap", "landlock", "landlock 1", "landlock 2", "landlock 4"])
@pytest.mark.parametrize("kind", ["user", "root", "root alone"])
def test_what_the_user_owns_stays_as_it_is(kind, layer, checkout, owned, system_python) -> None:
    name, _, abi = layer.partition(" ")
    if why := tried(name):
        pytest.skip(f"{name}: {why}")
    head = f"{HEAD}FOLDER = {str(owned)!r}\n"
    head += "".join(f"{file.upper()} = {str(owned / file)!r}\n" for file in ("key", "marked", "copy", "locked"))
    command = [system_python, "-c", HOST, name, abi or "0"]
    options = {"user": 65534, "group": 65534, "extra_groups": []} if kind == "user" else {}
    if kind == "root alone":
        if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False).returncode:
            pytest.skip("needs unshare and user namespaces")
        command = [*ALONE, *command]
    before = state(owned)
    programs = json.dumps({name: head + source for name, source in ATTACKS.items()})
    options |= {"env": {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(checkout)}, "cwd": "/"}
    done = subprocess.run(command, input=programs, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}
    assert state(owned) == before
    assert os.getxattr(owned / "marked", "user.mark") == b"x"


def test_the_page_counts_the_attacks() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert f"\n| your files, other processes, uncounted memory | {len(ATTACKS)} |" in page
