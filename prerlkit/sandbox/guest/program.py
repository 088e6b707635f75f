"""Runs a whole program as `python program.py` would: its own stdin and stdout, its own exit code."""

from __future__ import annotations

import sys

from prerlkit.sandbox.guest.channel import Channel

TYPE_CHECKING = False  # `typing` itself costs as much as the interpreter's start
if TYPE_CHECKING:
    from typing import Any


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Receive the source, and be that program."""
    source = channel.receive()
    module = sys.modules["__main__"] = type(sys)("__main__")
    module.__dict__["__builtins__"] = __builtins__
    exec(compile(source, "program.py", "exec"), module.__dict__)
