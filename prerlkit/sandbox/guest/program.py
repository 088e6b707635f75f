"""Runs a whole program as `python program.py` would: its own stdin and stdout, its own exit code."""

from __future__ import annotations

import sys
from typing import Any

from prerlkit.sandbox.guest.channel import Channel


def main(channel: Channel, config: dict[str, Any]) -> None:
    """Receive the source, and be that program."""
    source = channel.receive()
    module = sys.modules["__main__"] = type(sys)("__main__")
    module.__dict__["__builtins__"] = __builtins__
    exec(compile(source, "program.py", "exec"), module.__dict__)
