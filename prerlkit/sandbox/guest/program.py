"""Runs a whole program as `python program.py` would, once for each case, each time in a fresh process.

This process is the parent: it never runs a line of the program. For each case it forks from its clean state, and the
child confines itself before it runs the program. The host passes the case's stdin, stdout and stderr as
descriptors, so neither the parent nor another case sees what a case reads or writes.

host → parent    source and prelude; then for each case CASE with three descriptors; END ends the case
child → host     {ready: true}, when it is confined
parent → host    {exit: code, clean: whether the private folder is untouched}, when the child is gone
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` brings `enum`, which costs as much again
import _socket
import gc
import os
import select
import sys

from prerlkit.sandbox.guest.boot import confine_child
from prerlkit.sandbox.guest.channel import Channel
from prerlkit.sandbox.guest.prelude import bind

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any

CASE, END = b"c", b"e"


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Serve cases until the host closes its pipe. In a child: run the program."""
    program = channel.receive()
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, config["control"])
    ended, signalled = os.pipe()
    os.set_blocking(signalled, False)
    _signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    parent, before = os.getpid(), _state(config["private"])
    gc.freeze()  # a child that ends doesn't touch these objects, which it shares with this process
    while True:
        data, ancillary, *_ = control.recvmsg(1, _socket.CMSG_SPACE(3 * 4))
        if not data:
            os._exit(0)
        if data != CASE:  # the message that ends a case arrived after its process had ended
            continue
        fds = list(memoryview(ancillary[0][2]).cast("i"))
        pid = os.fork()
        if pid == 0:
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            control.close()
            for fd in (*fds, ended, signalled):
                os.close(fd)
            confine_child(config, parent)
            channel.send({"ready": True})
            channel.close()
            os.closerange(3, 1024)
            return _be(program["source"], program["prelude"])
        for fd in fds:
            os.close(fd)
        code = _wait(pid, control, ended)
        channel.send({"exit": code, "clean": _state(config["private"]) == before})


def _be(source: str, prelude: bool) -> None:
    module = sys.modules["__main__"] = type(sys)("__main__")
    module.__dict__["__builtins__"] = __builtins__
    code = compile(source, "program.py", "exec", dont_inherit=True)
    if prelude:
        bind(module.__dict__, code, source)
    exec(code, module.__dict__)


def _wait(pid: int, control: Any, ended: int) -> int:
    """Return the child's exit code; kill it when the host asks for it or is gone."""
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        for fd, _ in poll.poll():
            if fd == ended:
                os.read(ended, 512)
            else:
                control.recv(1)
                os.kill(pid, _signal.SIGKILL)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _state(folder: str | None) -> Any:
    """Return values that change with any change in a folder or of the folder."""
    if folder is None:
        return None
    found = os.stat(folder)
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        entries = None
    return found.st_ctime_ns, found.st_mtime_ns, found.st_mode, entries
