"""Each test of the sandbox runs on every layer that this host has, and says why another is left out."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import prerlkit
from prerlkit.sandbox import process
from prerlkit.sandbox.host import tried
from prerlkit.verify.registry import make

LAYERS = ("bubblewrap", "landlock")
MARK = "prerlkit-hostile"  # in the name of every file that a hostile program writes
HONEST = {"inputs": ["4\n"], "outputs": ["5\n"]}


@pytest.fixture(params=LAYERS)
def layer(request) -> str:
    if why := tried(request.param):
        pytest.skip(f"{request.param}: {why}")
    return request.param


@pytest.fixture
def code(layer):
    """The verifier on that layer, with limits that make the battery quick."""
    return make("code", {"layer": layer, "case_seconds": 1.0, "total_seconds": 3.0})


@pytest.fixture
def nothing_left(monkeypatch) -> Iterator[Callable[[], list[str]]]:
    """Afterwards no guest runs any more and no hostile file is on the host. Gives what lists the living guests."""
    own = uuid.uuid4().hex  # other sandboxes on this machine are none of ours
    monkeypatch.setattr(process, "_STUB", f"{process._STUB}# {own}\n")
    yield lambda: guests(own)
    deadline = time.monotonic() + 30.0
    while (left := guests(own)) and time.monotonic() < deadline:
        time.sleep(0.01)  # a process that is gone stays in the table until its parent has looked
    assert left == []
    assert traces() == []


def guests(own: str) -> list[str]:
    """Command lines of living guests with that word in it, whoever their parent is."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and own.encode() in (line := (entry / "cmdline").read_bytes()):
                found.append(f"{entry.name} {line[:80]!r}")
    return found


def traces() -> list[str]:
    places = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/", os.getcwd(), os.path.expanduser("~")}
    return [path for place in places for path in glob.glob(f"{place}/{MARK}-trace*")]


@pytest.fixture(scope="module")
def host() -> Iterator[SimpleNamespace]:
    """What there is to be reached: a secret file and variable, servers on four kinds of sockets, a process."""
    with tempfile.TemporaryDirectory(prefix=MARK, dir="/var/tmp") as folder, contextlib.ExitStack() as stack:
        os.chmod(folder, 0o755)
        secret = Path(folder, "secret")
        secret.write_text("the secret")
        secret.chmod(0o644)
        reached: list[str] = []
        os.environ["PRERLKIT_TEST_SECRET"] = "the secret"
        stack.callback(os.environ.pop, "PRERLKIT_TEST_SECRET")
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        stream, datagram, abstract = (
            stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        )
        stream.bind(f"{folder}/stream")
        datagram.bind(f"{folder}/datagram")
        abstract.bind(f"\0{MARK}-{os.getpid()}")
        for path in ("stream", "datagram"):
            os.chmod(f"{folder}/{path}", 0o777)
        for server in (stream, abstract):
            server.listen()
        for server, name in ((tcp, "tcp"), (stream, "stream"), (abstract, "abstract")):
            threading.Thread(target=_accept, args=(server, name, reached), daemon=True).start()
        for server, name in ((udp, "udp"), (datagram, "datagram")):
            threading.Thread(target=_hear, args=(server, name, reached), daemon=True).start()
        victim = stack.enter_context(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        stack.callback(victim.kill)
        yield SimpleNamespace(
            FOLDER=folder, SECRET=str(secret), TCP=tcp.getsockname()[1], UDP=udp.getsockname()[1],
            ABSTRACT=f"\0{MARK}-{os.getpid()}", VICTIM=victim.pid, victim=victim, reached=reached,
        )  # fmt: skip


def _accept(server: socket.socket, name: str, reached: list[str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            server.accept()[0].close()
            reached.append(name)


def _hear(server: socket.socket, name: str, reached: list[str]) -> None:
    with contextlib.suppress(OSError):
        while server.recv(100):
            reached.append(name)


@pytest.fixture(scope="session")
def system_python() -> str:
    """A Python that every user can start; it needs no package."""
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        if (path := shutil.which(name, path="/usr/bin:/usr/local/bin")) is not None:
            ask = [path, "-c", "import sys; print(sys.version_info >= (3, 11))"]
            if subprocess.run(ask, capture_output=True, text=True, check=False).stdout == "True\n":
                return path
    pytest.skip("there is no system Python of at least 3.11")


@pytest.fixture
def checkout() -> Iterator[Path]:
    """The package where every user can read it."""
    root = Path(prerlkit.__file__).parents[1]
    folder = Path("/var/tmp") / f"prerlkit-test-{os.getpid()}"
    for name in ("sandbox", "sandbox/guest"):
        (folder / "prerlkit" / name).mkdir(parents=True, exist_ok=True)
        for file in (root / "prerlkit" / name).glob("*.py"):
            shutil.copy(file, folder / "prerlkit" / name)
    for file in ("__init__.py", "errors.py"):
        shutil.copy(root / "prerlkit" / file, folder / "prerlkit")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)
