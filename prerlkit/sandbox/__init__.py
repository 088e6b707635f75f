"""The sandbox: runs code that a model wrote, where it can reach nothing.

`choose` finds a layer that works here, `run` runs a whole program in it, `prerlkit.sandbox.trial` has its
functions called by tests.
"""

from prerlkit.sandbox.host import choose
from prerlkit.sandbox.layers import Sandbox
from prerlkit.sandbox.limits import Limits
from prerlkit.sandbox.program import ProgramRunner, run

__all__ = ["Limits", "ProgramRunner", "Sandbox", "choose", "run"]
