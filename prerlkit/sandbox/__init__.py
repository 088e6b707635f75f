"""The sandbox: runs code that a model wrote, where it can reach nothing.

`choose` returns a layer that works on this machine. `run` runs a whole program in it. `prerlkit.sandbox.trial` lets
tests call a program's functions.
"""

from prerlkit.sandbox.host import choose
from prerlkit.sandbox.layers import Sandbox
from prerlkit.sandbox.limits import Limits
from prerlkit.sandbox.program import ProgramRunner, run

__all__ = ["Limits", "ProgramRunner", "Sandbox", "choose", "run"]
