"""Programs that try to get out, to stay, or to use up the machine. Each prints "escaped" when it got what it wanted.

"escaped" is what the row expects, so a program that succeeds passes: that is what must not happen. Without a sandbox
many of them do pass, which a test shows too.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prerlkit.sandbox.host import Sandbox
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

ROW = {"inputs": [""], "outputs": ["escaped"]}
HONEST = {"inputs": ["4\n"], "outputs": ["5\n"]}

ESCAPES = {
    # network
    "tcp to the host": "socket.create_connection(('127.0.0.1', TCP)); yes()",
    "tcp to the world": "socket.create_connection(('1.1.1.1', 53), 0.5); yes()",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP)); yes()",
    "name lookup": "socket.getaddrinfo('localhost', 80); socket.socket(); yes()",
    "unix socket": "socket.socket(socket.AF_UNIX).connect(FOLDER + '/stream'); yes()",
    "unix datagram by a pair": """
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.sendto(b'x', FOLDER + '/datagram'); yes()""",
    "unix stream by a pair": """
a, b = socket.socketpair()
a.sendto(b'x', FOLDER + '/datagram'); yes()""",
    "abstract socket": "socket.socket(socket.AF_UNIX).connect(ABSTRACT); yes()",
    "netlink and raw sockets": """
for kind in ((socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
    socket.socket(*kind); yes()""",
    # files and environment
    "read a host file": "open(SECRET).read(); yes()",
    "read /etc": """
for name in ('passwd', 'shadow', 'hostname', 'machine-id'):
    try: open('/etc/' + name).read(); yes()
    except OSError: pass""",
    "list the host": """
for folder in ('/root', '/home', '/var', FOLDER, '/opt', '/proc', '/sys', '/run'):
    try: names = os.listdir(folder)
    except OSError: continue
    # A folder above Python's own is there, with the next one in it and nothing else.
    if len(names) != 1 or not sys.base_prefix.startswith(os.path.join(folder, names[0])): yes()""",
    "environment": "'the secret' in str(os.environ) and yes()",
    "environment of process 1": "b'SECRET' in open('/proc/1/environ', 'rb').read() and yes()",
    "own environment in /proc": "open('/proc/self/environ', 'rb').read(); yes()",
    "environment on the stack": """
import ctypes
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
found = [environ[i] for i in range(50) if environ and environ[i]] if environ else []
any(b'secret' in item.lower() for item in found) and yes()""",
    "memory of another process": "open(f'/proc/{VICTIM}/mem', 'rb'); yes()",
    "command line of another process": "open(f'/proc/{VICTIM}/cmdline', 'rb').read(); yes()",
    "link out": """
os.symlink(SECRET, '/tmp/link'); open('/tmp/link').read(); yes()""",
    "hard link out": "os.link(SECRET, '/tmp/hard'); open('/tmp/hard').read(); yes()",
    "dot dot": "open('../../../..' + SECRET).read(); yes()",
    "write next to it": "open(FOLDER + '/prerlkit-hostile-trace', 'w'); yes()",
    "write into Python": "open(os.__file__, 'a').write('#'); yes()",
    "delete the standard library": "os.remove(os.__file__); yes()",
    "write in the root": """
for path in ('/', '/dev', '/usr', '/usr/lib', os.path.dirname(os.__file__)):
    try: open(path + '/prerlkit-hostile-trace', 'w'); yes()
    except OSError: pass""",
    "leave files": """
for path in ('/tmp', '/var/tmp', '/dev/shm', '.'):
    try: open(path + '/prerlkit-hostile-trace', 'w').write('x')
    except OSError: pass
os.path.exists('/var/tmp/prerlkit-hostile-trace') and yes()""",
    "inherited descriptors": """
import stat
for fd in range(256):
    try: mode = os.fstat(fd).st_mode
    except OSError: continue
    if stat.S_ISDIR(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode): yes()""",
    "terminal": "os.open('/dev/tty', os.O_RDWR); yes()",
    "installed packages": "import pydantic; yes()",
    "prerlkit itself": "import prerlkit.types; yes()",
    # processes
    "fork": "os.fork() == 0 and os._exit(0); yes()",
    "fork bomb": """
for _ in range(200):
    try: os.fork(); yes()
    except OSError: pass""",
    "raw fork and clone": """
import ctypes
libc = ctypes.CDLL(None)
for number, args in ((57, ()), (58, ()), (56, (17, 0, 0, 0, 0)), (435, (0, 0))):
    pid = libc.syscall(number, *args)
    if pid == 0: os._exit(0)
    pid > 0 and yes()""",
    "shell": "import subprocess; subprocess.run(['/bin/sh', '-c', 'true']); yes()",
    "os.system": "os.system('true') == 0 and yes()",
    "posix_spawn": "os.posix_spawn('/bin/true', ['true'], {}); yes()",
    "multiprocessing": """
import multiprocessing
multiprocessing.get_context('fork').Process(target=print).start(); yes()""",
    "daemon": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import time; time.sleep(30)
    os._exit(0)
yes()""",
    "other program": """
os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', f'open({SECRET!r}).read(); print("escaped")'])""",
    "kill a process": "os.kill(VICTIM, 9); yes()",
    "kill everyone": "os.kill(-1, 9); import time; time.sleep(9)",
    "kill the group above": """
os.killpg(os.getppid() or 1, 9); os.kill(os.getppid() or 1, 9)
import time; time.sleep(9)""",
    "signal by queue and descriptor": """
import ctypes
libc = ctypes.CDLL(None)
info = ctypes.create_string_buffer(128)
libc.syscall(129, VICTIM, 9, info) == 0 and yes()
libc.syscall(200, VICTIM, 9) == 0 and yes()
fd = libc.syscall(434, VICTIM, 0)
fd >= 0 and yes()""",
    "signal by a file's owner": """
import fcntl
r, w = os.pipe()
fcntl.fcntl(r, fcntl.F_SETOWN, VICTIM); yes()""",
    "ptrace": """
import ctypes
libc = ctypes.CDLL(None)
libc.ptrace(16, VICTIM, 0, 0) == 0 and yes()
libc.ptrace(0, 0, 0, 0) == 0 and yes()""",
    "read another's memory": """
import ctypes
libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(64)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
libc.process_vm_readv(VICTIM, vector, 1, vector, 1, 0) >= 0 and yes()""",
    "others' limits": """
import resource
resource.prlimit(VICTIM, resource.RLIMIT_NOFILE, (3, 3)); yes()""",
    # the kernel
    "namespaces": """
import ctypes
libc = ctypes.CDLL(None)
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000):
    libc.unshare(flag) == 0 and yes()""",
    "mount and chroot": """
import ctypes
ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 and yes()
os.chroot('/tmp'); yes()""",
    "kernel corners": """
import ctypes
libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(256)
for number in (321, 425, 298, 323, 250, 248, 246, 155, 428, 430, 447, 304, 319, 29, 68, 64, 240, 9999, 0x40000029):
    libc.syscall(number, buffer, 0, 0, 0, 0, 0) >= 0 and yes()""",
    "become root": """
for change in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try: change()
    except OSError: continue
    os.getuid() == 0 and START_UID != 0 and yes()""",
    "set the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, time.time()); yes()",
    "outlive the host": "import ctypes; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0 and yes()",
    "raise limits": """
import resource
for name in ('RLIMIT_AS', 'RLIMIT_CPU', 'RLIMIT_FSIZE', 'RLIMIT_NOFILE'):
    try: resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY,) * 2); yes()
    except (OSError, ValueError): pass""",
    # using up the machine
    "memory bomb": "hoard = bytearray(2 << 30); yes()",
    "memory bomb, bit by bit": """
hoard = []
while len(hoard) < 2048: hoard.append(b'x' * (1 << 20))
yes()""",
    "shared memory": "import mmap; mmap.mmap(-1, 2 << 30); yes()",
    "thread bomb": """
import threading, time
started = 0
try:
    while started < 300: threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); started += 1
except RuntimeError: pass
if started >= 300: yes()
sys.stdout.flush(); os._exit(1)""",
    "disk fill": """
written = 0
for folder in ('/tmp', '.', '/dev/shm', '/var/tmp'):
    for number in range(64):
        try:
            with open(f'{folder}/prerlkit-hostile-trace-{number}', 'wb') as file:
                while written < (64 << 20): written += file.write(b'x' * (1 << 20)); file.flush()
        except OSError: pass
written >= (64 << 20) and yes()""",
    "one large file": """
with open('/tmp/prerlkit-hostile-trace', 'wb') as file:
    file.truncate(1 << 40); yes()""",
    "output flood": "while True: print('escaped' * 1000)",
    "error flood": "while True: print('escaped' * 1000, file=sys.stderr)",
    "endless loop": "while True: pass",
    "endless sleep": "import time; time.sleep(1000)",
    "loop that ignores signals": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass""",
    "stop itself": "import signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "close everything and stay": "os.closerange(0, 256)\nwhile True: pass",
    "thread that outlives main": """
import threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()""",
    "exit handler that stays": "import atexit, time; atexit.register(time.sleep, 1000)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "deep recursion": """
sys.setrecursionlimit(10**9)
def deeper(n): return deeper(n + 1)
deeper(0)""",
}
# Harmless without a sandbox, and successful there: they show that the battery can fail.
CONTROLS = (
    "tcp to the host", "udp", "unix socket", "abstract socket", "read a host file", "list the host", "fork",
    "own environment in /proc", "command line of another process", "raw fork and clone", "shell", "os.system",
    "posix_spawn", "other program", "outlive the host", "link out",
)  # fmt: skip


def program(source: str, host) -> str:
    facts = {name: value for name, value in vars(host).items() if name.isupper()}
    head = "\n".join(f"{name} = {value!r}" for name, value in facts.items())
    return (
        f"import os, socket, sys\n{head}\nSTART_UID = os.getuid()\ndef yes(): print('escaped'); sys.exit()\n{source}\n"
    )


def test_the_battery_is_as_long_as_promised_and_counted_on_the_page() -> None:
    assert len(ESCAPES) >= 60
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert f"\n| escapes | {len(ESCAPES)} |" in page


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_gets_out(name, code, host, nothing_left) -> None:
    host.reached.clear()
    start = time.monotonic()
    verdict = code.judge(VerifierInput("", program(ESCAPES[name], host), None, ROW))
    took = time.monotonic() - start
    assert verdict.passed is False, verdict
    assert host.reached == []
    assert host.victim.poll() is None
    start = time.monotonic()
    assert code.judge(VerifierInput("", "print(int(input()) + 1)", None, HONEST)).passed is True
    # Its `total_seconds`, and what starting and ending a guest costs on this machine now.
    assert took < 3.0 + 20 * (time.monotonic() - start)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_same_program_succeeds_without_a_sandbox(name, host, monkeypatch) -> None:
    monkeypatch.setattr("prerlkit.verifiers.code.choose", lambda *_: Sandbox("none"))
    source = program(ESCAPES[name], host).replace("'/tmp/link'", "FOLDER + '/link'")
    assert make("code", {}).judge(VerifierInput("", source, None, ROW)).passed is True
