"""Many cases of one program in one guest: each in its own process, none of which sees or changes another's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from prerlkit.sandbox import Limits, ProgramRunner, choose, process
from prerlkit.sandbox.process import Guest
from prerlkit.verify import VerifierInput
from prerlkit.verify.registry import make

# Each prints "clean" unless something of an earlier case, or of the parent process, is there for it. One case in one
# fresh guest prints it too.
TRACES = {
    "a file in the folder": "import os\nprint(os.listdir('/tmp') or 'clean')\nopen('/tmp/a', 'w').write('x')",
    "a file with a moved time": """
import os
print(os.listdir('/tmp') or 'clean')
open('/tmp/a', 'w').close()
os.utime('/tmp', (0, 0))""",
    "folders too deep to remove": """
import os
print(os.listdir('/tmp') or 'clean')
for _ in range(2000):
    os.mkdir('/tmp/d') if os.getcwd() == '/' else os.mkdir('d')
    os.chdir('/tmp/d' if os.getcwd() == '/' else 'd')""",
    "a folder that cannot be read": """
import os
print('clean' if os.access('/tmp', os.R_OK) and not os.listdir('/tmp') else 'seen')
os.mkdir('/tmp/d', 0)""",
    "the folder's own rights": """
import os
print('clean' if os.stat('/tmp').st_mode & 0o777 == 0o777 else 'seen')
os.chmod('/tmp', 0o700)""",
    "the folder's own time": """
import os
print('clean' if os.stat('/tmp').st_mtime > 1000 else 'seen')
os.utime('/tmp', (500, 500))""",
    "the working folder": "import os\nprint('seen' if os.getcwd() == '/usr' else 'clean')\nos.chdir('/usr')",
    "variables and modules": """
import builtins, sys
print('seen' if hasattr(builtins, 'mark') or hasattr(sys, 'mark') else 'clean')
builtins.mark = sys.mark = sys.modules['mark'] = 1""",
    "the environment": "import os\nprint(os.environ.get('MARK', 'clean'))\nos.environ['MARK'] = 'seen'",
    "limits": """
import resource
print('clean' if resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 32 else 'seen')
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))""",
    "signals": """
import signal
print('clean' if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL == signal.getsignal(signal.SIGCHLD) else 'seen')
signal.signal(signal.SIGTERM, signal.SIG_IGN)""",
    "chance": """
import random
first = [random.random() for _ in range(3)]
random.seed(1)
print('clean' if first != [random.random() for _ in range(3)] else 'seen')""",
    "descriptors": """
import os
print('clean' if not [fd for fd in range(3, 1024) if os.path.exists(f'/dev/fd/{fd}') or not _free(fd)] else 'seen')""",
    "a thread of the last case": """
import threading, time
print('clean' if threading.active_count() == 1 else 'seen')
threading.Thread(target=time.sleep, args=(9,), daemon=True).start()""",
}
FREE = """
def _free(fd):
    import os
    try: os.fstat(fd)
    except OSError: return True
    return False
"""


@pytest.mark.parametrize("name", TRACES)
def test_nothing_of_a_case_is_there_for_the_next(name, layer, nothing_left) -> None:
    source = FREE + TRACES[name]
    if layer == "landlock" and "/tmp" in source:
        pytest.skip("landlock has no folder that can be written")
    with ProgramRunner(choose(layer), source, Limits()) as program:
        for _ in range(3):
            ran = program.run(b"", 5.0)
            assert ran.stdout == b"clean\n", ran


# Each tries to reach the process that made it, or to say something in its name.
ATTACKS = {
    "kill the parent": "import os\nos.kill(os.getppid(), 9)",
    "stop the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)",
    "kill the parent's group": "import os\nos.killpg(0, 9)",
    "kill everyone": "import os\nos.kill(-1, 9)",
    "signal the parent by its thread": "import ctypes, os\nctypes.CDLL(None).syscall(200, os.getppid(), 9)",
    "trace the parent": "import ctypes, os\nctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)",
    "write into the parent": "import os\nopen(f'/proc/{os.getppid()}/mem', 'wb')",
    "the parent's limits": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))",
    "the parent's descriptors": """
import ctypes, os
libc = ctypes.CDLL(None)
fd = libc.syscall(434, os.getppid(), 0)
got = [libc.syscall(438, fd, n, 0) for n in range(64)] if fd >= 0 else []""",
    "write to every descriptor": """
import os
for fd in range(3, 1024):
    for text in (b'{"exit": 0, "clean": true}', b'{"ready": true}'):
        try: os.write(fd, len(text).to_bytes(4, 'big') + text)
        except OSError: pass""",
    "a separate session": "import os\nos.setsid()\nimport time; time.sleep(9)",
    "fork": "import os\nos.fork()",
    "unforkable parent": """
import threading, time
for _ in range(60): threading.Thread(target=time.sleep, args=(9,)).start()""",
    "endless": "while True: pass",
    "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "flood": "while True: print('x' * 1000)",
    "close all and stay": "import os\nos.closerange(0, 256)\nwhile True: pass",
    "eat memory": "hoard = [b'x' * (1 << 20) for _ in range(4096)]",
    "crash": "import ctypes\nctypes.string_at(0)",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_the_next_case_runs_whatever_the_last_did(name, layer, nothing_left) -> None:
    source = f"if input() == 'attack':\n    {ATTACKS[name].strip().replace(chr(10), chr(10) + '    ')}\nprint('fine')"
    with ProgramRunner(choose(layer), source, Limits()) as program:
        for _ in range(2):
            ran = program.run(b"attack", 0.5)
            assert ran.stopped or ran.exit_code != 0 or ran.stdout == b"fine\n", ran
            ran = program.run(b"go", 5.0)
            assert (ran.stdout, ran.exit_code, ran.stopped) == (b"fine\n", 0, ""), ran


def test_a_forged_exit_code_is_not_believed(layer) -> None:
    source = ATTACKS["write to every descriptor"] + "\nprint('fine')\nos._exit(3)"
    with ProgramRunner(choose(layer), source, Limits()) as program:
        assert program.run(b"", 5.0).exit_code == 3


@pytest.fixture
def guests(monkeypatch) -> list[str]:
    """The role of each guest that is started."""
    started: list[str] = []

    class Counted(Guest):
        def __init__(self, layer, role, *rest, **more) -> None:
            started.append(role)
            super().__init__(layer, role, *rest, **more)

    monkeypatch.setattr("prerlkit.sandbox.program.Guest", Counted)
    return started


def test_all_cases_share_one_guest_until_the_folder_is_touched(layer, guests) -> None:
    with ProgramRunner(choose(layer), "print(input())", Limits()) as program:
        for number in range(10):
            assert program.run(str(number).encode(), 5.0).stdout == f"{number}\n".encode()
        assert program.run(b"", 5.0).exit_code == 1
        assert program.run(b"after an error", 5.0).stdout == b"after an error\n"
        assert (len(guests), program.restart_seconds) == (1, 0.0)
    if layer == "bubblewrap":
        guests.clear()
        with ProgramRunner(choose(layer), "open('/tmp/a', 'w')", Limits()) as program:
            for _ in range(3):
                program.run(b"", 5.0)
            assert len(guests) == 3
            assert program.restart_seconds > 0


def test_the_page_counts_the_attempts() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert f"\n| traces for the next test case | {len(TRACES)} |" in page
    assert f"\n| attacks on the parent process | {len(ATTACKS)} |" in page


def judge(layer: str, completion: str, row: dict, **settings: float):
    return make("code", {"layer": layer, **settings}).judge(VerifierInput("", completion, None, row))


def test_the_sandboxs_own_time_is_not_the_programs(layer, monkeypatch) -> None:
    ready = Guest.wait_ready

    def slow(self: Guest) -> None:
        time.sleep(0.6)
        ready(self)

    monkeypatch.setattr(Guest, "wait_ready", slow)
    limits = {"case_seconds": 0.5, "total_seconds": 0.5}
    for row in (
        {"inputs": ["1"] * 5, "outputs": ["1"] * 5},
        {"fn_name": "input", "inputs": [[1]] * 2, "outputs": [1] * 2},
        {"test": "def check(f):\n    for n in range(3):\n        assert f(n) == n", "entry_point": "input"},
    ):
        completion = "print(1)" if "fn_name" not in row and "test" not in row else "def input(x): return x"
        verdict = judge(layer, completion, row, **limits)
        assert verdict.passed is True, verdict


def test_a_sandbox_that_does_not_start_in_time_is_unjudged(layer, monkeypatch) -> None:
    from prerlkit.errors import PrerlkitError

    monkeypatch.setattr(process, "START_LIMIT", 0.1)
    monkeypatch.setattr(process, "_STUB", f"import time; time.sleep(3)\n{process._STUB}")
    with pytest.raises(PrerlkitError, match="wasn't ready"):
        judge(layer, "print(1)", {"inputs": ["1"], "outputs": ["1"]})


def test_guests_that_a_program_makes_necessary_are_its_own_time(layer) -> None:
    row = {"inputs": ["1"] * 400, "outputs": ["2"] * 400}
    start = time.monotonic()
    calls = {"fn_name": "f", "inputs": [[1]] * 400, "outputs": [2] * 400}
    for completion, each in (
        ("open('/tmp/a', 'w') if __import__('os').access('/tmp', 2) else __import__('time').sleep(0.1)", row),
        ("import os\ndef f(x): os._exit(0)", calls),
    ):
        verdict = make("code", {"layer": layer, "total_seconds": 1.0, "score": "fraction"}).judge(
            VerifierInput("", completion, None, each)
        )
        assert (verdict.passed, verdict.score) == (False, 0.0), verdict
    assert time.monotonic() - start < 20.0


def test_thirty_cases_of_a_fifth_of_a_second_pass_with_the_default_settings(layer) -> None:
    row = {"inputs": [str(n) for n in range(30)], "outputs": [str(n) for n in range(30)]}
    source = "import time\ntime.sleep(0.2)\nprint(input())"
    verdict = judge(layer, source, row)
    assert (verdict.passed, verdict.details["passed"]) == (True, 30), verdict


def test_no_descriptor_is_lost_whatever_a_case_does(layer) -> None:
    def once() -> None:
        with ProgramRunner(choose(layer), "exec(input())", Limits()) as program:
            for source in (b"print(1)", b"while True: pass", b"1 / 0", b"open('/tmp/a', 'w')", b"print(2)"):
                program.run(source, 0.3)

    once()
    before = sorted(os.listdir("/proc/self/fd"))
    once()
    assert sorted(os.listdir("/proc/self/fd")) == before
