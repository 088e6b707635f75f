"""Completions become verdicts, judged by plugins in worker processes.

The author of a plugin imports everything from here. The runner (`prerlkit.verify.pool.runner`) is imported by its full
name, so that a worker process never loads it.
"""

import warnings
from typing import Any

from prerlkit.settings import Settings
from prerlkit.types import Verdict
from prerlkit.verify.base import GoldCase, Verifier, VerifierInput
from prerlkit.verify.code_tests.function import judges

__all__ = ["GoldCase", "Settings", "Verdict", "Verifier", "VerifierInput", "judges"]


def __getattr__(name: str) -> Any:
    if name == "Sample":  # the name of `VerifierInput` until November 2026, in plugins that users have written
        warnings.warn("prerlkit.verify.Sample is now VerifierInput", DeprecationWarning, stacklevel=2)
        return VerifierInput
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
